//! Drawing from a fixed skewed distribution in constant time: Walker's alias method, with Vose's way to make the table.
//!
//! Invariant: row `i` gives `i` in `threshold` of 2^32 cases and its alias otherwise; over all rows that adds up to the weights.

use crate::events::Random;

#[derive(Debug, Clone)]
pub(super) struct Alias {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    threshold: u64,
    alias: usize,
}

impl Alias {
    /// Number `i` of `n` (at least 1) with a weight of `(i + 1) ^ -exponent`.
    pub(super) fn zipf(n: usize, exponent: f64) -> Self {
        let weights: Vec<f64> = (1..=n).map(|rank| (rank as f64).powf(-exponent)).collect();
        Self::new(&weights)
    }

    fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut shares: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let mut rows: Vec<Row> = (0..shares.len())
            .map(|alias| Row {
                threshold: 1 << 32,
                alias,
            })
            .collect();
        let (mut light, mut heavy): (Vec<usize>, Vec<usize>) =
            (0..shares.len()).partition(|at| shares[*at] < 1.0);
        while let (Some(small), Some(large)) = (light.pop(), heavy.pop()) {
            rows[small] = Row {
                threshold: threshold(shares[small]),
                alias: large,
            };
            shares[large] -= 1.0 - shares[small];
            if shares[large] < 1.0 {
                light.push(large);
            } else {
                heavy.push(large);
            }
        }
        Self { rows }
    }

    pub(super) fn draw(&self, random: &mut Random) -> usize {
        let bits = random.next_u64();
        let at = usize::try_from(((bits >> 32) * self.rows.len() as u64) >> 32).expect("below the rows");
        let row = self.rows[at];
        if (bits & 0xffff_ffff) < row.threshold {
            at
        } else {
            row.alias
        }
    }
}

/// The share in 2^32nds.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share lies between 0 and 1"
)]
fn threshold(share: f64) -> u64 {
    (share * 4_294_967_296.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `1.0 - shares[small]` becomes `shares[small]`.
    #[test]
    fn draws_have_their_weights() {
        let table = Alias::zipf(4, 1.0);
        let mut random = Random::new(1, 1);
        let mut counts = [0_u32; 4];
        for _ in 0..250_000 {
            counts[table.draw(&mut random)] += 1;
        }
        for (count, expected) in counts.into_iter().zip([120_000_u32, 60_000, 40_000, 30_000]) {
            assert!(count.abs_diff(expected) < 1_500, "{counts:?}");
        }
    }
}
