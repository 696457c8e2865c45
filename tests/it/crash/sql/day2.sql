-- New, modified and deleted rows; the bad order is mended, others turn bad or come bad.
update team set lead_id = 6 where id = 3;
update team set name = 'Tuning and repair' where id = 2;
insert into member values (6, 3, 'f@example.org', '2025-05-05');
update member set email = 'b@example.org' where id = 2;
delete from topic where id = 4;
insert into topic values (6, 7, 'forward'), (7, null, 'root of 6');
update topic set parent_id = 3 where id = 2;
update orders set amount = 5 where id = 3;
update orders set note = null where id = 1;
insert into orders values (6, 6, 'A-6', -1, 'refused'), (7, 6, 'A-7', 7, 'new');
delete from line where order_id = 5;
delete from orders where id = 5;
update line set quantity = 0 where id = 5;
insert into line values (8, 6, 1, 1), (9, 7, 1, 2), (10, 7, 2, 4);
update tag set hidden = true where code = 'b';
update tag set hidden = false, label = 'shown' where code = 'z';
