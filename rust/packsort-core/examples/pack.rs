//! Pack lengths from standard input and print the packs.
//!
//! ```text
//! echo 3 5 2 2 | cargo run --release --example pack -- 7
//! cargo run --release --example pack                        # a million lengths, made up
//! ```

use std::error::Error;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::time::Instant;

use packsort_core::{Lengths, Options, Plan};

fn main() -> Result<(), Box<dyn Error>> {
    let max_length = std::env::args().nth(1).map_or(Ok(4096), |argument| argument.parse())?;
    let mut text = String::new();
    if !io::stdin().is_terminal() {
        io::stdin().read_to_string(&mut text)?;
    }
    let given: Vec<i64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let lengths = if given.is_empty() { made_up(1_000_000, max_length) } else { given };

    let start = Instant::now();
    let plan = Plan::new(&Lengths::from(&lengths[..]).into(), Options::new(max_length), None, 0)?;
    let seconds = start.elapsed().as_secs_f64();

    let mut out = BufWriter::new(io::stdout().lock());
    for (number, pack) in plan.packs(0..20).enumerate() {
        let tokens: u32 = pack.lengths.iter().sum();
        writeln!(out, "pack {number}: sequences {:?} of {:?} tokens, {tokens} together", pack.ids, pack.lengths)?;
    }
    if plan.num_packs() > 20 {
        writeln!(out, "... {} packs more", plan.num_packs() - 20)?;
    }
    let room = plan.num_packs() * u64::from(max_length);
    writeln!(
        out,
        "{} sequences in {} packs, at least {} are needed; {:.2} % of their room is tokens; {:.1} ms",
        plan.num_sequences(),
        plan.num_packs(),
        plan.lower_bound()?,
        100.0 * plan.num_tokens() as f64 / room.max(1) as f64,
        1e3 * seconds,
    )?;
    Ok(())
}

/// Lengths that are mostly short, as those of conversations are.
fn made_up(number: u64, max_length: u32) -> Vec<i64> {
    (0..number)
        .map(|i| {
            let uniform = (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) as f64 / (1_u64 << 53) as f64;
            (f64::from(max_length) * uniform.powi(4)).ceil().max(1.0) as i64
        })
        .collect()
}
