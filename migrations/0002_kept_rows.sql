-- A row that is gone from the source, but that the target refuses to retire or delete.
alter type diffmig.outcome add value 'undeleted';

-- A session is made by the process that runs it, so it was never pending.
alter table diffmig.session alter column state drop default;
alter table diffmig.session drop constraint session_state_check;
alter table diffmig.session add constraint session_state_check check (state in ('running', 'pausing', 'paused',
  'cancelling', 'cancelled', 'completed', 'completed_with_rejects', 'failed'));
drop index diffmig.session_one_live;
create unique index session_one_live on diffmig.session ((true))
  where state in ('running', 'pausing', 'paused', 'cancelling');
