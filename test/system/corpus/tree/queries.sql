create table e(id integer primary key, name text, dept text, salary integer);
.mode csv
.import --skip 1 table.csv e
.mode column
select dept, count(*) as n, avg(salary) as mean, max(salary) from e group by dept order by dept;
with recursive f(a, b) as (select 0, 1 union all select b, a + b from f limit 20) select group_concat(a) from f;
create index i on e(dept, salary);
explain query plan select * from e where dept = 'eng' and salary > 100000;
begin; update e set salary = salary * 2 where id % 10 = 0; select sum(salary) from e; rollback;
select sum(salary) from e;
select json_extract('{"a":[1,2,{"b":"c"}]}', '$.a[2].b'), hex(zeroblob(3)), printf('%08.3f', 3.14159);
create virtual table t using fts5(x);
insert into t values ('the quick brown fox'), ('lazy dogs sleep');
select x from t where t match 'lazy';
pragma integrity_check;
