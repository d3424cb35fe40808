//! `tasnif key`: a key for who calls, and the line by which the service knows it.

use std::io::Read;

use crate::config::KeyArgs;
use crate::http::Key;

/// The line goes to standard output, into a file of keys; a key that was made is shown on standard error, once.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command's output")]
pub fn key(args: &KeyArgs) -> anyhow::Result<()> {
    let key = if args.stdin {
        let mut key = String::new();
        std::io::stdin().read_to_string(&mut key)?;
        key.trim().to_owned()
    } else {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits)?;
        let key = format!("tsn_{:032x}", u128::from_be_bytes(bits));
        eprintln!("{key}");
        key
    };
    anyhow::ensure!(!key.is_empty(), "standard input is empty; a key is expected");
    let line = Key::new(&args.name, &args.scopes, &key).to_string();
    // A name that would not be read again is told here, not when the service starts.
    line.parse::<Key>()?;
    println!("{line}");
    Ok(())
}
