import sqlite3, threading

db = sqlite3.connect("py.db")
db.execute("create table t(id integer primary key, name text, v real)")
db.executemany("insert into t(name, v) values (?, ?)", [(f"n{i}", i / 3) for i in range(1000)])
db.commit()
print(db.execute("select count(*), round(sum(v), 3) from t").fetchone())
db.create_function("twice", 1, lambda x: x * 2)
print(db.execute("select twice(id) from t where name = ?", ("n10",)).fetchone())
try:
    db.execute("insert into t(id) values (1)")
except sqlite3.IntegrityError as e:
    print(e)
with db:
    db.execute("delete from t where id > 500")
print(db.execute("select count(*) from t").fetchone())
def other():
    c = sqlite3.connect("py.db", timeout=5)
    c.execute("insert into t(name) values ('thread')")
    c.commit()
    c.close()
ts = [threading.Thread(target=other) for _ in range(4)]
[t.start() for t in ts]
[t.join() for t in ts]
print(db.execute("select count(*) from t where name = 'thread'").fetchone())
mem = sqlite3.connect(":memory:")
db.backup(mem)
print(mem.execute("select max(id) from t").fetchone())
print("\n".join(mem.iterdump()).count("INSERT"))
