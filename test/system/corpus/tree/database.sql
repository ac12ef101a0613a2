pragma journal_mode = wal;
create table kv(k text primary key, v blob) without rowid;
insert into kv select 'key' || value, zeroblob(100) from generate_series(1, 2000);
select count(*), sum(length(v)) from kv;
delete from kv where k like 'key1%';
vacuum;
select count(*) from kv;
pragma wal_checkpoint(truncate);
pragma integrity_check;
