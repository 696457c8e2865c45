create table teams (id uuid primary key, legacy_id bigint unique not null, name text not null, lead_id uuid,
  is_active boolean not null default true, retired_at timestamptz);
create table members (id uuid primary key, legacy_id bigint unique not null, team_id uuid not null references teams, email text,
  joined_on date, is_active boolean not null default true, retired_at timestamptz);
alter table teams add foreign key (lead_id) references members;
create table topics (id uuid primary key, legacy_id bigint unique not null, parent_id uuid references topics, title text not null,
  is_active boolean not null default true, retired_at timestamptz);
create table orders (id uuid primary key, legacy_id bigint unique not null, member_id uuid not null references members,
  code text unique not null, amount numeric(10,2) not null check (amount >= 0), note text,
  is_active boolean not null default true, retired_at timestamptz);
create table lines (id uuid primary key, legacy_id bigint unique not null, order_id uuid not null references orders,
  position smallint not null, quantity int not null check (quantity > 0),
  is_active boolean not null default true, retired_at timestamptz);
create table tags (id uuid primary key, legacy_code text unique not null, label text,
  is_active boolean not null default true, retired_at timestamptz);
