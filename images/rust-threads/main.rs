// rust-threads: threads, a channel, a mutex, and a panic caught at a thread's join.
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

fn main() {
    let total = Arc::new(Mutex::new(0u64));
    let (tx, rx) = mpsc::channel();
    let workers: Vec<_> = (0..8u64)
        .map(|i| {
            let (total, tx) = (Arc::clone(&total), tx.clone());
            thread::spawn(move || {
                for k in 0..1000 {
                    *total.lock().unwrap() += k * i;
                }
                tx.send(i).unwrap();
            })
        })
        .collect();
    drop(tx);
    let mut done: Vec<u64> = rx.iter().collect();
    done.sort();
    for w in workers {
        w.join().unwrap();
    }
    println!("workers {:?}, total {}", done, total.lock().unwrap());
    std::panic::set_hook(Box::new(|_| {}));
    println!("a panic was caught: {}", thread::spawn(|| panic!("on purpose")).join().is_err());
}
