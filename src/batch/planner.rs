//! How many records go into a job: AWS's limits on records and bytes in, sizes of shards out. Pure.
//!
//! Sizes are balanced: two jobs of 50,001 rather than one of 100,000 and a remainder that AWS does not take. Invariant: no
//! shard is below the minimum or above a maximum, and shards and remainder together are all records.

use crate::catalog;
use crate::config;

/// How large a job may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The fewest records of a job.
    pub min: u64,
    /// The most records of a job.
    pub max_records: u64,
    /// The most bytes of its input.
    pub max_bytes: u64,
    /// The most records of a file of its input.
    pub max_file_records: u64,
    /// The most bytes of a file of its input.
    pub max_file_bytes: u64,
}

impl Limits {
    /// AWS's, and those of the settings where they are lower. A setting below AWS's minimum counts as the minimum: AWS takes
    /// no smaller job.
    pub fn new(aws: &catalog::BatchLimits, own: &config::BatchLimits) -> Self {
        let max_records = own.max_records_per_job.unwrap_or(u64::MAX).min(aws.max_records).max(aws.min_records);
        Self {
            min: aws.min_records.max(1),
            max_records,
            max_bytes: aws.max_job_bytes,
            max_file_records: aws.max_file_records,
            max_file_bytes: aws.max_file_bytes,
        }
    }

    /// The most records of a job when so many have so many bytes: as many of their average as fit.
    fn most(&self, records: u64, bytes: u64) -> u64 {
        let fits = u128::from(self.max_bytes) * u128::from(records) / u128::from(bytes.max(1));
        self.max_records.min(u64::try_from(fits).unwrap_or(u64::MAX))
    }

    /// Whether a job with `records` of its records, and as many as it was meant to have, goes on to take the `left` that
    /// follow, because they could not be one of their own.
    pub fn takes_remainder(&self, records: u64, left: u64) -> bool {
        left > 0 && left < self.min && records + left <= self.max_records
    }
}

/// How records are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// How many jobs.
    pub jobs: u64,
    /// Records in them.
    pub in_jobs: u64,
    /// Records that no job can take; they run online.
    pub online: u64,
}

impl Cut {
    /// How many records each job has, the larger ones first.
    pub fn sizes(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { jobs, in_jobs, .. } = *self;
        (0..jobs).map(move |index| in_jobs / jobs + u64::from(index < in_jobs % jobs))
    }
}

/// Cuts so many records with so many bytes in all into the fewest jobs.
pub fn cut(records: u64, bytes: u64, limits: &Limits) -> Cut {
    let most = limits.most(records, bytes);
    if records < limits.min || most < limits.min {
        return Cut { online: records, ..Cut::default() };
    }
    // Where so many jobs would be too small each, fewer are full, and what is left runs online.
    let jobs = records.div_ceil(most).min(records / limits.min);
    let in_jobs = records.min(jobs.saturating_mul(most));
    Cut { jobs, in_jobs, online: records - in_jobs }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AWS: Limits = Limits {
        min: 100,
        max_records: 100_000,
        max_bytes: 5_000_000_000,
        max_file_records: 100_000,
        max_file_bytes: 1_000_000_000,
    };

    fn sizes(records: u64, bytes: u64, limits: &Limits) -> (Vec<u64>, u64) {
        let cut = cut(records, bytes, limits);
        (cut.sizes().collect(), cut.online)
    }

    #[test]
    fn jobs_are_balanced_between_awss_limits() {
        for (records, jobs, online) in [
            (0, vec![], 0),
            (1, vec![], 1),
            (99, vec![], 99),
            (100, vec![100], 0),
            (101, vec![101], 0),
            (100_000, vec![100_000], 0),
            (100_001, vec![50_001, 50_000], 0),
            (250_000, vec![83_334, 83_333, 83_333], 0),
        ] {
            assert_eq!(sizes(records, records * 1000, &AWS), (jobs, online), "{records}");
        }
    }

    #[test]
    fn what_fits_into_no_job_runs_online() {
        let narrow = Limits { max_records: 120, ..AWS };
        assert_eq!(sizes(250, 250, &narrow), (vec![120, 120], 10));
        let exact = Limits { max_records: 100, ..AWS };
        assert_eq!(sizes(199, 199, &exact), (vec![100], 99));
        assert_eq!(sizes(200, 200, &exact), (vec![100, 100], 0));
    }

    #[test]
    fn bytes_cut_too() {
        // 20 MB each: 250 fit.
        assert_eq!(sizes(1000, 20_000_000_000, &AWS), (vec![250; 4], 0));
        // 60 MB each: 83 fit, fewer than AWS takes.
        assert_eq!(sizes(1000, 60_000_000_000, &AWS), (vec![], 1000));
    }

    #[test]
    fn the_lower_limit_counts_but_none_below_awss_minimum() {
        let aws = catalog::BatchLimits {
            min_records: 100,
            max_records: 100_000,
            max_file_records: 50_000,
            max_file_bytes: 1,
            max_job_bytes: 5,
            max_jobs: 100,
        };
        let of = |own| Limits::new(&aws, &config::BatchLimits { max_records_per_job: own });
        assert_eq!(of(None).max_records, 100_000);
        assert_eq!(of(Some(1000)).max_records, 1000);
        assert_eq!(of(Some(7)).max_records, 100);
        assert_eq!(of(Some(1_000_000)).max_records, 100_000);
        assert_eq!((of(None).max_bytes, of(None).max_file_bytes, of(None).max_file_records), (5, 1, 50_000));
    }

    #[test]
    fn a_remainder_joins_the_last_job_where_it_fits() {
        assert!(AWS.takes_remainder(50_000, 99));
        assert!(!AWS.takes_remainder(50_000, 100));
        assert!(!AWS.takes_remainder(50_000, 0));
        assert!(!AWS.takes_remainder(99_950, 51));
    }

    proptest! {
        #[test]
        fn every_record_is_in_one_place_and_no_job_beyond_a_limit(
            records in 0_u64..1_000_000,
            average in 0_u64..1_000_000,
            min in 1_u64..500,
            above in 0_u64..2_000,
            max_bytes in 1_u64..10_000_000_000,
        ) {
            let limits = Limits { min, max_records: min + above, max_bytes, ..AWS };
            let (sizes, online) = sizes(records, records * average, &limits);
            prop_assert_eq!(sizes.iter().sum::<u64>() + online, records);
            for size in &sizes {
                prop_assert!(*size >= min && *size <= limits.max_records);
                prop_assert!(size * average <= max_bytes, "{size} of {average}");
            }
            if let (Some(first), Some(last)) = (sizes.first(), sizes.last()) {
                prop_assert!(first - last <= 1, "balanced");
                // What is left is too little for one more, and all are full.
                prop_assert!(online == 0 || (online < min.max(limits.max_records) && *last == limits.most(records, records * average)));
            }
        }
    }
}
