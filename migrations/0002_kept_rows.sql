-- A row that is gone from the source, but that the target refuses to retire or delete.
alter type diffmig.outcome add value 'undeleted';
