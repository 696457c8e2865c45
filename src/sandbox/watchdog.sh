# Lives as long as the process that holds the other end of its standard input. When that process
# ends, however it ends, the read fails and everything it left is removed.
trap '' HUP INT QUIT TERM
root=$1
pids=
while read -r word value; do
    case $word in
        pid) pids="$pids $value" ;;
        keep) exit 0 ;;
    esac
done
clean_up
