insert into team values (1, 'Bench', 2), (2, 'Tuning', 5), (3, 'Varnish', null);
insert into member values (1, 1, 'Ada@Example.org', '2020-02-29'), (2, 1, null, null), (3, 2, 'c@example.org', '2021-01-01'),
  (4, 3, E'tab\there@example.org', '1999-12-31'), (5, 2, '', '2024-06-30');
-- The parent of the first topics is in a later batch.
insert into topic values (1, 5, 'child of a later row'), (2, 1, 'grandchild'), (3, null, 'root'), (4, 3, 'leaf'), (5, null, 'late root');
-- The target refuses order 3 (a check constraint), so its line is held. Line 7 refers to nothing.
insert into orders values (1, 1, 'A-1', 10.50, 'x'), (2, 1, 'A-2', 0, null), (3, 2, 'A-3', -5, 'refused'), (4, 4, 'A-4', 99.99, ''),
  (5, 5, 'A-5', 1, 'goes');
insert into line values (1, 1, 1, 1), (2, 1, 2, 3), (3, 2, 1, 2), (4, 3, 1, 1), (5, 4, 1, 7), (6, 5, 1, 1), (7, 77, 1, 1);
insert into tag values ('a', 'first', false), ('b', null, false), ('B', 'upper', false), ('z', 'last', true), ('é', 'not ascii', false);
