//! Many requests, one a line (JSON Lines), counted on several threads.
//!
//! Lines end with `\n`, and those of JSON's white space alone are none. A request that is refused does not stop the
//! others. Work is cut at lines into jobs; a job reads its lines from a copy, so that whoever writes to a mapped file
//! meanwhile changes no text that was found to be UTF-8.

use std::io::BufRead;
use std::num::NonZero;
use std::ops::Range;

use super::{PromptOptions, count_chat, parse_json, read_request};
use crate::error::Error;
use crate::json::is_white;
use crate::tokenizer::{Tokenizer, TokenizerError, in_parallel, threads_of, utf8};

/// Bytes of a job: about half a millisecond of work, against a microsecond to take it.
const JOB: usize = 64 * 1_024;

/// The counts of requests that stand one a line.
#[derive(Debug, Default)]
pub struct RequestCounts {
    /// `[n]` the number of each request's line, from 1, ascending.
    pub lines: Vec<i64>,
    /// `[n]` the tokens of its prompt; 0, which no prompt has, if it is refused.
    pub counts: Vec<i64>,
    /// Each line whose request is refused, and why: a `Prompt` error, or a `Tokenizer` error for what is not UTF-8.
    pub errors: Vec<(i64, Error)>,
}

/// Counts the requests of lines on at most `threads` threads, which change nothing but the time. `is_regex` is that of
/// [`super::Tool::new`].
///
/// ```
/// use nemo_fast::prompt::{PromptOptions, count_request_lines};
/// use nemo_fast::tokenizer::{Tokenizer, cores};
///
/// let lines = br#"{"messages": [{"role": "user", "content": "Hi"}]}
///
/// {"messages": []}
/// "#;
/// let options = PromptOptions::default();
/// let found = count_request_lines(&Tokenizer::embedded(), lines, options, cores(), &|_pattern| true);
/// assert_eq!((found.lines, found.counts), (vec![1, 3], vec![4, 0]));
/// assert_eq!(found.errors[0].1.to_string(), "Conversation must have at least one message");
/// ```
pub fn count_request_lines(
    tokenizer: &Tokenizer,
    bytes: &[u8],
    options: PromptOptions,
    threads: NonZero<usize>,
    is_regex: &(dyn Fn(&str) -> bool + Sync),
) -> RequestCounts {
    let jobs = jobs(bytes);
    let done = in_parallel(threads_of(bytes.len(), threads), jobs.len(), |job| {
        count_job(&bytes[jobs[job].clone()], |line| count_line(tokenizer, line, options, is_regex))
    });
    let mut all = RequestCounts::default();
    let mut before = 0;
    for (found, lines) in done {
        all.lines.extend(found.lines.iter().map(|line| before + line));
        all.counts.extend(found.counts);
        all.errors.extend(found.errors.into_iter().map(|(line, error)| (before + line, error)));
        before += lines;
    }
    all
}

/// Whole lines of about a job's size.
fn jobs(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut jobs, mut start) = (Vec::new(), 0);
    while start < bytes.len() {
        let least = bytes.len().min(start + JOB);
        let end =
            bytes[least..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| least + at + 1);
        jobs.push(start..end);
        start = end;
    }
    jobs
}

/// The counts of a job, its lines numbered from 1, and how many lines it has.
fn count_job(bytes: &[u8], count: impl Fn(&[u8]) -> Result<usize, Error>) -> (RequestCounts, i64) {
    let copy = bytes.to_vec();
    let mut found = RequestCounts::default();
    let (mut rest, mut number) = (&copy[..], 0);
    while !rest.is_empty() {
        let from_here = rest;
        // To read from memory does not fail.
        let length = rest.skip_until(b'\n').unwrap_or(from_here.len());
        let line = &from_here[..length];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        number += 1;
        if line.iter().all(|&byte| is_white(byte)) {
            continue;
        }
        let count = count(line).unwrap_or_else(|error| {
            found.errors.push((number, error));
            0
        });
        found.lines.push(number);
        found.counts.push(count as i64);
    }
    (found, number)
}

fn count_line(
    tokenizer: &Tokenizer,
    line: &[u8],
    options: PromptOptions,
    is_regex: &(dyn Fn(&str) -> bool + Sync),
) -> Result<usize, Error> {
    let text = utf8(line).map_err(|offset| TokenizerError::NotUtf8 { offset })?;
    let json = parse_json(text)?;
    let request = read_request(&&json, &mut |pattern| is_regex(pattern))?;
    Ok(count_chat(tokenizer, &request, options)?)
}
