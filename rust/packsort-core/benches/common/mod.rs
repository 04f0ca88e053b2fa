//! Lengths and random numbers that benches share.
#![allow(dead_code, missing_docs)] // every bench uses a part

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Uniform in 0 to 1.
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Put ids in random order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i + 1));
        }
    }
}

/// Distributions of lengths, up to a maximum.
#[derive(Clone, Copy, Debug)]
pub enum Distribution {
    /// Log-normal with a median of 300 tokens, as conversations are.
    Chats,
    /// Every length is equally frequent.
    Uniform,
}

impl Distribution {
    pub fn lengths(self, number: usize, max_length: u32) -> Vec<i64> {
        let mut random = Random(7);
        let top = f64::from(max_length);
        let length = |_| match self {
            Self::Chats => {
                let radius = (-2.0 * random.uniform().max(1e-300).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * random.uniform()).cos(); // Box and Muller, 1958
                (300.0 * normal.exp()).clamp(1.0, top) as i64
            }
            Self::Uniform => 1 + random.below(max_length as usize) as i64,
        };
        (0..number).map(length).collect()
    }
}
