//! Many texts, or a large one, on several threads. The ids and counts are those of one thread: texts are encoded one by
//! one, and a large one is cut only where its parts have the ids of the whole (`text_cuts`).
//!
//! Work is cut into jobs of some ten thousand bytes, which the threads take in turn. The calling thread works too; the
//! others belong to the process and sleep between calls, so that what they remember of earlier texts stays.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::available_parallelism;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::text_cuts::first_cut_of_bytes;
use super::utf8::utf8;
use super::{ControlStrings, EncodeOptions, Text, TokenId, Tokenizer, TokenizerError};

/// Units of a job: a tenth of a millisecond of work, against a microsecond to take it.
const JOB: usize = 64 * 1_024;
/// Units below which a thread more costs more than it brings: to wake one takes some ten microseconds.
const THREAD: usize = 32 * 1_024;
/// Texts that a job has at most: those without a unit cost time too.
const TEXTS: usize = 4_096;

/// The ids of many texts, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The ids of all texts.
    pub ids: Vec<TokenId>,
    /// Where the ids of each text start, and the last ones end.
    pub offsets: Vec<i64>,
}

/// Cores that this process may use: the number of threads where nobody says otherwise.
pub fn cores() -> NonZero<usize> {
    static CORES: OnceLock<NonZero<usize>> = OnceLock::new();
    *CORES.get_or_init(|| available_parallelism().unwrap_or(NonZero::<usize>::MIN))
}

/// What a thread does at a time: whole texts, or a part of one.
struct Job<'a> {
    texts: Range<usize>,
    part: Option<Part<'a>>,
}

#[derive(Clone, Copy)]
struct Part<'a> {
    text: Text<'a>,
    is_first: bool,
    is_last: bool,
}

impl Tokenizer {
    /// Number of token ids of each text, found on at most `threads` threads.
    pub fn count_texts(&self, texts: &[Text<'_>], threads: NonZero<usize>) -> Vec<i64> {
        let threads = threads_for(texts, threads);
        if threads == 1 {
            return texts.iter().map(|&text| self.count_text(text) as i64).collect();
        }
        let jobs = jobs(texts, true);
        let done = in_parallel(threads, jobs.len(), |job| match &jobs[job].part {
            Some(part) => vec![self.count_text(part.text) as i64],
            None => texts[jobs[job].texts.clone()].iter().map(|&text| self.count_text(text) as i64).collect(),
        });
        let mut counts = vec![0; texts.len()];
        for (job, job_counts) in jobs.iter().zip(done) {
            for (count, job_count) in counts[job.texts.clone()].iter_mut().zip(job_counts) {
                *count += job_count;
            }
        }
        counts
    }

    /// The token ids of each text, found on at most `threads` threads.
    ///
    /// # Errors
    /// [`TokenizerError::ControlString`] with [`ControlStrings::Forbid`]: of the first text that has one, with its index.
    pub fn encode_texts(
        &self,
        texts: &[Text<'_>],
        options: EncodeOptions,
        threads: NonZero<usize>,
    ) -> Result<Encoded, (usize, TokenizerError)> {
        let threads = threads_for(texts, threads);
        let mut encoded = Encoded { ids: Vec::new(), offsets: vec![0; texts.len() + 1] };
        if threads == 1 {
            for (index, &text) in texts.iter().enumerate() {
                self.encode_text(text, options, &mut encoded.ids).map_err(|error| (index, error))?;
                encoded.offsets[index + 1] = encoded.ids.len() as i64;
            }
            return Ok(encoded);
        }
        // A cut may stand inside a control string.
        let jobs = jobs(texts, options.control_strings == ControlStrings::Text);
        let done = in_parallel(threads, jobs.len(), |job| self.encode_job(texts, &jobs[job], options));
        encoded.ids.reserve_exact(done.iter().flatten().map(|(ids, _)| ids.len()).sum());
        for (job, job_done) in jobs.iter().zip(done) {
            let (ids, ends) = job_done?;
            for (text, end) in job.texts.clone().zip(ends) {
                encoded.offsets[text + 1] = (encoded.ids.len() + end) as i64;
            }
            encoded.ids.extend_from_slice(&ids);
        }
        Ok(encoded)
    }

    /// The ids of a job, and where those of each of its texts end.
    fn encode_job(
        &self,
        texts: &[Text<'_>],
        job: &Job<'_>,
        options: EncodeOptions,
    ) -> Result<(Vec<TokenId>, Vec<usize>), (usize, TokenizerError)> {
        let (mut ids, mut ends) = (Vec::new(), Vec::with_capacity(job.texts.len()));
        for index in job.texts.clone() {
            let (text, options) = match job.part {
                Some(part) => (
                    part.text,
                    EncodeOptions {
                        before: options.before.filter(|_| part.is_first),
                        behind: options.behind.filter(|_| part.is_last),
                        ..options
                    },
                ),
                None => (texts[index], options),
            };
            self.encode_text(text, options, &mut ids).map_err(|error| (index, error))?;
            ends.push(ids.len());
        }
        Ok((ids, ends))
    }

    /// Number of token ids of bytes that should be UTF-8, found on at most `threads` threads.
    ///
    /// # Errors
    /// [`TokenizerError::NotUtf8`].
    pub fn count_bytes(&self, bytes: &[u8], threads: NonZero<usize>) -> Result<usize, TokenizerError> {
        let parts = byte_parts(bytes);
        let counts = in_parallel(threads_of(bytes.len(), threads), parts.len(), |part| {
            let part = parts[part].clone();
            let text = utf8(&bytes[part.clone()]).map_err(|offset| part.start + offset)?;
            Ok(self.count(text))
        });
        counts.into_iter().sum::<Result<usize, usize>>().map_err(|offset| TokenizerError::NotUtf8 { offset })
    }
}

/// Parts of about a job's size that can be counted one by one if the bytes are UTF-8; if they are not, the first part
/// that is not has the first byte that is not.
fn byte_parts(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    while let Some(cut) = first_cut_of_bytes(bytes, start + JOB) {
        parts.push(start..cut);
        start = cut;
    }
    parts.push(start..bytes.len());
    parts
}

/// The jobs of texts, in order. Large texts are cut if they may be.
fn jobs<'a>(texts: &[Text<'a>], may_cut: bool) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    let (mut start, mut units) = (0, 0);
    for (index, &text) in texts.iter().enumerate() {
        let is_large = may_cut && text.len() > 2 * JOB;
        if start < index && (is_large || units >= JOB || index - start >= TEXTS) {
            jobs.push(Job { texts: start..index, part: None });
            (start, units) = (index, 0);
        }
        units += text.len();
        if is_large {
            push_parts(&mut jobs, index, text);
            (start, units) = (index + 1, 0);
        }
    }
    if start < texts.len() {
        jobs.push(Job { texts: start..texts.len(), part: None });
    }
    jobs
}

fn push_parts<'a>(jobs: &mut Vec<Job<'a>>, index: usize, text: Text<'a>) {
    let (mut rest, mut is_first) = (text, true);
    loop {
        let (part, right) = rest.cut(JOB).map_or((rest, None), |(left, right)| (left, Some(right)));
        let part = Part { text: part, is_first, is_last: right.is_none() };
        jobs.push(Job { texts: index..index + 1, part: Some(part) });
        let Some(right) = right else { break };
        (rest, is_first) = (right, false);
    }
}

fn threads_for(texts: &[Text<'_>], threads: NonZero<usize>) -> usize {
    threads_of(texts.iter().map(Text::len).sum(), threads)
}

/// Threads that so many units are worth.
pub(crate) fn threads_of(units: usize, threads: NonZero<usize>) -> usize {
    threads.min(cores()).get().min(units / THREAD).max(1)
}

/// The results of all jobs, in order. The calling thread works too.
pub(crate) fn in_parallel<R: Send>(threads: usize, jobs: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let pool = if threads.min(jobs) > 1 { pool() } else { None };
    let Some(pool) = pool else { return (0..jobs).map(work).collect() };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(jobs)));
    let run = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                return;
            }
            let result = work(job);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((job, result));
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 1..threads.min(jobs) {
            scope.spawn(|_| run());
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|&(job, _)| job);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The threads of a process, or why there are none; those of the process that it was forked from are not there.
struct Pool {
    process: u32,
    threads: Option<ThreadPool>,
    of_fork: OnceLock<Box<Pool>>,
}

impl Pool {
    fn new() -> Pool {
        // One thread fewer than cores: the calling thread is the last.
        let builder = ThreadPoolBuilder::new().num_threads(cores().get() - 1);
        let builder = builder.thread_name(|number| format!("nemo-fast-{number}"));
        let threads = if cores().get() > 1 { builder.build().ok() } else { None };
        Pool { process: std::process::id(), threads, of_fork: OnceLock::new() }
    }
}

/// The threads of this process, started at its first large work. `None` if the system gives none: then the calling
/// thread works alone.
fn pool() -> Option<&'static ThreadPool> {
    static FIRST: OnceLock<Box<Pool>> = OnceLock::new();
    let process = std::process::id();
    let mut pool = FIRST.get_or_init(|| Box::new(Pool::new()));
    while pool.process != process {
        pool = pool.of_fork.get_or_init(|| Box::new(Pool::new()));
    }
    pool.threads.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(count: usize) -> NonZero<usize> {
        NonZero::new(count).unwrap()
    }

    fn texts() -> Vec<String> {
        let line = "Größe 12: один 中文。\u{1d400}😀\n\tx = y / 2\r\n";
        let lengths = [0, 0, 1, 3_000, 9_000, 1, 2_000, 0, 20_000, 1, 0];
        lengths.iter().enumerate().map(|(i, &length)| format!("{i}") + &line.repeat(length)).collect()
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let tokenizer = Tokenizer::embedded();
        let owned = texts();
        let mut texts: Vec<Text<'_>> = owned.iter().map(|text| Text::Utf8(text)).collect();
        texts.push(Text::Utf8(""));
        let options = EncodeOptions { before: Some(1), behind: Some(2), ..EncodeOptions::default() };
        let (mut ids, mut offsets, mut counts) = (Vec::new(), vec![0], Vec::new());
        for &text in &texts {
            tokenizer.encode_text(text, options, &mut ids).unwrap();
            offsets.push(ids.len() as i64);
            counts.push(tokenizer.count_text(text) as i64);
        }
        let expected = Encoded { ids, offsets };
        for count in [1, 2, 3, 64] {
            assert_eq!(tokenizer.encode_texts(&texts, options, threads(count)).unwrap(), expected);
            assert_eq!(tokenizer.count_texts(&texts, threads(count)), counts);
        }
        assert!(jobs(&texts, true).iter().any(|job| job.part.is_some_and(|part| !part.is_last)));
        let nothing = tokenizer.encode_texts(&[], options, threads(2)).unwrap();
        assert_eq!(nothing, Encoded { ids: vec![], offsets: vec![0] });
        assert!(tokenizer.count_texts(&[], threads(2)).is_empty());
    }

    #[test]
    fn the_first_text_with_a_control_string_is_named() {
        let tokenizer = Tokenizer::embedded();
        let large = "a ".repeat(200_000);
        let texts = [&large, "b<s>", &large, "[INST]"].map(Text::Utf8);
        let options = EncodeOptions { control_strings: ControlStrings::Forbid, ..EncodeOptions::default() };
        let (index, error) = tokenizer.encode_texts(&texts, options, threads(2)).unwrap_err();
        assert_eq!((index, error.to_string().as_str()), (1, "the text has the control string <s> at byte 1"));
    }

    #[test]
    fn bytes_are_counted_and_the_first_that_is_not_utf_8_is_named() {
        let tokenizer = Tokenizer::embedded();
        let mut bytes = texts().concat().into_bytes();
        let count = tokenizer.count(std::str::from_utf8(&bytes).unwrap());
        assert!(byte_parts(&bytes).len() > 10);
        for count_of_threads in [1, 2, 3] {
            assert_eq!(tokenizer.count_bytes(&bytes, threads(count_of_threads)), Ok(count));
        }
        let first = bytes.len() / 2;
        let first = (first..bytes.len()).find(|&at| bytes[at].is_ascii()).unwrap();
        let last = bytes.len() - 1;
        (bytes[first], bytes[last]) = (0xff, 0xff);
        assert_eq!(tokenizer.count_bytes(&bytes, threads(2)), Err(TokenizerError::NotUtf8 { offset: first }));
        assert_eq!(tokenizer.count_bytes(b"", threads(2)), Ok(0));
    }
}
