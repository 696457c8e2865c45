# Stops every server below $root and removes $root. Sets nothing up itself: the caller gives
# $root, and in $pids processes that may not have written a postmaster.pid yet.

# A process is ours if its command line names our directory; a recycled process id does not.
is_ours() {
    if [ -r "/proc/$1/cmdline" ]; then
        grep -aqF -- "$root/" "/proc/$1/cmdline"
    elif [ ! -d /proc/self ]; then
        ps -o args= -p "$1" 2>/dev/null | grep -qF -- "$root/"
    else
        return 1
    fi
}

signal_all() {
    running=no
    found=$pids
    for file in "$root"/*/data/postmaster.pid; do
        [ -f "$file" ] && read -r pid <"$file" && found="$found $pid"
    done
    for pid in $found; do
        if is_ours "$pid"; then
            running=yes
            kill "-$1" "$pid"
        fi
    done 2>/dev/null
}

clean_up() {
    case $root in
        /*) ;;
        *) return 1 ;;
    esac
    case ${root##*/} in
        dm[0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f][0-9a-f]) ;;
        *) return 1 ;;
    esac
    tries=0
    while [ -d "$root" ] && [ "$tries" -lt 100 ]; do
        if [ "$tries" -lt 50 ]; then signal_all QUIT; else signal_all KILL; fi
        [ "$running" = yes ] || rm -rf -- "$root" 2>/dev/null
        tries=$((tries + 1))
        [ ! -d "$root" ] || sleep 0.1
    done
    [ ! -d "$root" ]
}
