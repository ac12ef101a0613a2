// threads.rs - threads, channels and a caught panic.
use std::sync::mpsc;
use std::thread;

fn main() {
    let (tx, rx) = mpsc::channel();
    let workers: Vec<_> = (0..4u64)
        .map(|i| {
            let tx = tx.clone();
            thread::spawn(move || {
                for k in 0..1000u64 {
                    tx.send(i * k).unwrap();
                }
            })
        })
        .collect();
    drop(tx);
    let sum: u64 = rx.iter().sum();
    for w in workers {
        w.join().unwrap();
    }
    std::panic::set_hook(Box::new(|_| {}));
    let caught = thread::spawn(|| panic!("expected")).join().is_err();
    println!("{} {}", sum, caught);
    std::process::exit(9);
}
