-- A change is checked against its detection once for each list, not for each row, which cost as much as storing it.
alter table diffmig.change drop constraint if exists change_detection_id_fkey;
