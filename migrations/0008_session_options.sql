-- How a session works (entities, mode, limits), for whoever takes it up without saying otherwise. NULL: not known.
alter table diffmig.session add column if not exists options jsonb;
