// rustrun.rs - Rust's standard library: threads, channels, locks, panics caught, collections, files.
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let counter = Arc::new(Mutex::new(0u64));
    let handles: Vec<_> = (0..8)
        .map(|i| {
            let c = Arc::clone(&counter);
            thread::spawn(move || {
                for k in 0..1000 {
                    *c.lock().unwrap() += i * k % 7;
                }
                i
            })
        })
        .collect();
    let ids: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
    println!("threads {} counter {}", ids, *counter.lock().unwrap());

    let (tx, rx) = mpsc::sync_channel(4);
    for id in 0..4 {
        let tx = tx.clone();
        thread::spawn(move || {
            for n in 0..100 {
                tx.send(id * 1000 + n).unwrap();
            }
        });
    }
    drop(tx);
    println!("channel sum {}", rx.iter().sum::<i32>());

    let r = thread::spawn(|| {
        if true {
            panic!("in a thread");
        }
    })
    .join();
    println!("thread panicked {}", r.is_err());
    panic::set_hook(Box::new(|_| {}));
    let caught = panic::catch_unwind(|| {
        let v: Vec<i32> = Vec::new();
        v[std::env::args().count() + 5]
    });
    println!("index panic caught {}", caught.is_err());

    let barrier = Arc::new(Barrier::new(4));
    let leaders = Arc::new(AtomicUsize::new(0));
    let hs: Vec<_> = (0..4)
        .map(|_| {
            let (b, l) = (Arc::clone(&barrier), Arc::clone(&leaders));
            thread::spawn(move || {
                for _ in 0..20 {
                    if b.wait().is_leader() {
                        l.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    for h in hs {
        h.join().unwrap();
    }
    println!("barrier leaders {}", leaders.load(Ordering::SeqCst));

    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let p2 = Arc::clone(&pair);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        *p2.0.lock().unwrap() = true;
        p2.1.notify_all();
    });
    let mut ready = pair.0.lock().unwrap();
    while !*ready {
        ready = pair.1.wait(ready).unwrap();
    }
    println!("condition {}", *ready);
    let start = Instant::now();
    thread::park_timeout(Duration::from_millis(5));
    println!("parked {}", start.elapsed() >= Duration::from_millis(4));

    let table = RwLock::new(BTreeMap::new());
    thread::scope(|s| {
        for i in 0..5 {
            let table = &table;
            s.spawn(move || table.write().unwrap().insert(i, i * i));
        }
    });
    println!("{:?}", table.read().unwrap());

    let dir = std::env::temp_dir().join("rustrun");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("a"), b"hello").unwrap();
    fs::rename(dir.join("a"), dir.join("b")).unwrap();
    println!("{:?} {}", fs::read_to_string(dir.join("b")).unwrap(), fs::metadata(dir.join("b")).unwrap().len());
    println!("{:?}", fs::read(dir.join("a")).map_err(|e| e.kind()));
    fs::remove_dir_all(&dir).unwrap();
    let mut input = String::new();
    io::stdin().read_to_string(&mut input).unwrap();
    println!("stdin {:?}", input);
    io::stderr().write_all(b"to standard error\n").unwrap();
    std::process::exit(6);
}
