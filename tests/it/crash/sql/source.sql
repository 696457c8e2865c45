-- The small legacy database of the crash tests: a circle (team, member), a self reference (topic),
-- a chain (member, orders, line), a filter (tag).
create table team (id int primary key, name text not null, lead_id int);
create table member (id int primary key, team_id int not null, email text, joined_on date);
create table topic (id int primary key, parent_id int, title text not null);
create table orders (id int primary key, member_id int not null, code text not null, amount numeric(10,2) not null, note text);
create table line (id int primary key, order_id int not null, position smallint not null, quantity int not null);
create table tag (code text primary key, label text, hidden boolean not null default false);
grant usage on schema public to legacy_reader;
grant select on all tables in schema public to legacy_reader;
