//! Fine steps from coarse ones: seasons take weeks of history, which fine steps are too many for.

use super::{
    combine::{Combined, missed},
    model::{Origin, past::median},
    series::{self, MAX_HISTORY},
};

/// Days of which the course within coarse steps is the median.
const DAYS: usize = 7;

/// Steps whose median is the level that a forecast starts from.
const WINDOWS: [usize; 3] = [1, 5, 20];

/// Steps after which half of the way from that level to the coarse forecast is gone.
const HALF_LIVES: [f64; 5] = [1.0, 5.0, 20.0, 100.0, 500.0];

/// The values of a series whose seasons are looked for in means of several steps.
#[derive(Clone, Debug)]
pub(super) struct Fine {
    values: Vec<f64>,
    /// Whether each was measured.
    known: Vec<bool>,
    /// Steps of which one coarse value is the mean.
    each: usize,
    /// Steps of a day.
    day: Option<usize>,
}

/// How a coarse forecast is made fine.
#[derive(Clone, Copy, Debug)]
struct Manner {
    /// Whether days have a course within coarse steps.
    detail: bool,
    /// The window of the latest level and its half-life, in steps.
    start: Option<(usize, f64)>,
}

/// How many steps are brought together for `n` steps (µs) of history to be few enough: the least
/// that make a step which divides the day, if this one does.
pub(super) fn together(step_us: i64, n: usize) -> usize {
    let least = n.div_ceil(MAX_HISTORY);
    let day = series::Seasons::of(step_us).day.filter(|_| least > 1);
    day.and_then(|day| (least..=day / 2).find(|each| day % each == 0)).unwrap_or(least)
}

impl Fine {
    pub(super) fn new(values: Vec<f64>, known: Vec<bool>, each: usize, day: Option<usize>) -> Self {
        Self { values, known, each, day }
    }

    /// Means of so many steps, counted back from the last one.
    pub(super) fn means(&self) -> Vec<f64> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        self.values[self.skipped()..].chunks(self.each).map(mean).collect()
    }

    /// Steps before the first whole coarse one.
    fn skipped(&self) -> usize {
        self.values.len() % self.each
    }

    /// The values from the first step of a coarse one on.
    pub(super) fn before(&mut self, coarse: usize) -> &mut [f64] {
        let cut = self.skipped() + coarse * self.each;
        &mut self.values[..cut]
    }

    /// A forecast of coarse steps, and what it missed, as one of `n_steps` fine ones. What is done
    /// about the steps within, is what would have missed least.
    pub(super) fn refine(
        &self,
        coarse: Combined,
        means: &[f64],
        origins: &[Origin],
        n_steps: usize,
    ) -> Combined {
        let smooth = self.spread(means, means.first().copied().unwrap_or(0.0));
        let from = |cut: usize, course: &[f64]| {
            let before = cut.checked_sub(1).and_then(|last| means.get(last)).or(course.first());
            let mut course = self.spread(course, before.copied().unwrap_or(0.0));
            course.truncate(n_steps);
            (self.skipped() + cut * self.each, course)
        };
        let tried =
            origins.iter().zip(&coarse.courses).map(|(origin, course)| from(origin.cut, course));
        let tried: Vec<(usize, Vec<f64>)> = tried.collect();
        let details: Vec<Vec<f64>> =
            tried.iter().map(|(cut, course)| self.detail(&smooth, *cut, course.len())).collect();
        let all_missed = |manner: Manner| -> Vec<Vec<f64>> {
            let each = tried.iter().zip(&details).map(|((cut, course), detail)| {
                let course = self.course(manner, *cut, course, detail);
                missed(&self.values[*cut..], &course, &self.known[*cut..])
            });
            each.collect()
        };
        let size =
            |manner: &Manner| all_missed(*manner).iter().flatten().map(|e| e.abs()).sum::<f64>();
        let sizes = self.manners().into_iter().map(|manner| (size(&manner), manner));
        let (_, best) = sizes.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, Manner::PLAIN));
        let (cut, mean) = from(means.len(), &coarse.mean);
        let detail = self.detail(&smooth, cut, mean.len());
        let with = |(cut, course): &(usize, Vec<f64>), detail: &Vec<f64>| {
            self.course(best, *cut, course, detail)
        };
        Combined {
            mean: self.course(best, cut, &mean, &detail),
            courses: tried
                .iter()
                .zip(&details)
                .map(|(course, detail)| with(course, detail))
                .collect(),
            residuals: all_missed(best),
            weights: coarse.weights,
        }
    }

    fn manners(&self) -> Vec<Manner> {
        let starts = WINDOWS.into_iter().flat_map(|w| HALF_LIVES.map(|half| Some((w, half))));
        let starts: Vec<_> = [None].into_iter().chain(starts).collect();
        let with = |detail: bool| starts.iter().map(move |start| Manner { detail, start: *start });
        with(false).chain(with(true)).collect()
    }

    /// Lines between the middles of coarse steps, from that of the step `before` on.
    fn spread(&self, course: &[f64], before: f64) -> Vec<f64> {
        let (each, middle) = (self.each as f64, (self.each as f64 - 1.0) / 2.0);
        let at = |place: usize| {
            let place = (place as f64 - middle) / each;
            let (whole, share) = (place.floor(), place - place.floor());
            let left = if whole < 0.0 { before } else { course[whole as usize] };
            let right = course[((whole + 1.0) as usize).min(course.len() - 1)];
            left + share * (right - left)
        };
        (0..course.len() * self.each).map(at).collect()
    }

    /// What the days before a step usually had beside their coarse course, at its time.
    fn detail(&self, smooth: &[f64], cut: usize, n_steps: usize) -> Vec<f64> {
        let Some(day) = self.day else { return vec![0.0; n_steps] };
        let skipped = self.skipped();
        let at = |step: usize| {
            let place = cut + step % day;
            let days = (1..=DAYS).filter_map(|back| place.checked_sub(back * day));
            let days = days.filter(|place| *place >= skipped);
            let beside = days.map(|place| self.values[place] - smooth[place - skipped]);
            median(&mut beside.collect::<Vec<_>>())
        };
        (0..n_steps).map(at).collect()
    }

    fn course(&self, manner: Manner, cut: usize, course: &[f64], detail: &[f64]) -> Vec<f64> {
        let mut course = course.to_vec();
        if manner.detail {
            course.iter_mut().zip(detail).for_each(|(value, detail)| *value += detail);
        }
        if let (Some((window, half_life)), Some(first)) = (manner.start, course.first().copied()) {
            let mut gap =
                median(&mut self.values[cut.saturating_sub(window)..cut].to_vec()) - first;
            for value in &mut course {
                *value += gap;
                gap *= 0.5f64.powf(1.0 / half_life);
            }
        }
        course
    }
}

impl Manner {
    const PLAIN: Self = Self { detail: false, start: None };
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    #[test]
    fn so_many_steps_are_brought_together_that_weeks_are_few_enough() {
        let check = |step_us: i64, n: usize, expected: usize| {
            assert_eq!(together(step_us, n), expected, "{step_us} {n}");
        };
        check(MINUTE, 8_064, 1);
        check(MINUTE, 26 * 1_440, 5);
        check(MINUTE, 4 * 7 * 1_440, 5);
        check(MINUTE / 6, 6 * 8_640, 8);
        check(7_000_000, 20_000, 3);
        check(60 * MINUTE, 8_064, 1);
    }

    #[test]
    fn a_line_stays_a_line_when_it_is_made_coarse_and_fine_again() {
        let fine = Fine::new((0..23).map(f64::from).collect(), vec![true; 23], 5, None);
        assert_eq!(fine.means(), [5.0, 10.0, 15.0, 20.0]);
        let course = fine.spread(&[25.0, 30.0], 20.0);
        assert_eq!(course[..8], [23.0, 24.0, 25.0, 26.0, 27.0, 28.0, 29.0, 30.0]);
    }

    #[test]
    fn what_happens_within_coarse_steps_is_kept_where_it_comes_daily() {
        let value = |n: usize| if n % 24 == 5 { 9.0 } else { (n / 240) as f64 };
        let fine = Fine::new((0..240).map(value).collect(), vec![true; 240], 4, Some(24));
        let means = fine.means();
        let course = means[..6].to_vec();
        let coarse = Combined {
            mean: course.clone(),
            courses: vec![course],
            residuals: vec![],
            weights: vec![],
        };
        let origins = [Origin { cut: 54, n_steps: 6 }];
        let found = fine.refine(coarse, &means, &origins, 24);
        assert!((found.mean[5] - 9.0).abs() < 1.5, "{:?}", found.mean);
        assert_eq!((found.mean.len(), found.residuals[0].len()), (24, 24));
    }
}
