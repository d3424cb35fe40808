//! Matrices in int8: symmetric, one scale per row, which is one per output channel of a linear layer.

/// weight\[row\]\[column\] = value * scale of the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Rows {
    /// Row-major, within -127..=127.
    pub values: Vec<i8>,
    pub scales: Vec<f32>,
    pub columns: usize,
}

impl Int8Rows {
    /// The nearest int8 to each weight, with the row's largest magnitude at 127.
    pub(super) fn quantise(weights: &[f32], columns: usize) -> Self {
        let rows = weights.chunks_exact(columns.max(1));
        let scales: Vec<f32> = rows
            .clone()
            .map(|row| row.iter().fold(0.0f32, |most, weight| most.max(weight.abs())) / 127.0)
            .collect();
        let values = rows.zip(&scales).flat_map(|(row, scale)| {
            // A row of zeros has no scale, and stays zero.
            let inverse = if *scale > 0.0 { scale.recip() } else { 0.0 };
            row.iter()
                .map(move |weight| (weight * inverse).round().clamp(-127.0, 127.0) as i8)
        });
        Self {
            values: values.collect(),
            scales,
            columns,
        }
    }

    pub(super) fn expand(&self) -> Vec<f32> {
        let rows = self.values.chunks_exact(self.columns.max(1)).zip(&self.scales);
        rows.flat_map(|(row, scale)| row.iter().map(move |value| f32::from(*value) * scale))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantised_weights_are_within_half_a_step() {
        let weights = [0.5, -1.0, 0.25, 0.0, 0.0, 0.0, 1e-30, -3e-30, 2e-30];
        let rows = Int8Rows::quantise(&weights, 3);
        for (index, (weight, expanded)) in weights.iter().zip(rows.expand()).enumerate() {
            assert!(
                (weight - expanded).abs() <= rows.scales[index / 3] * 0.5001,
                "{weight} became {expanded}"
            );
        }
        assert_eq!(rows.values[1], -127);
    }
}
