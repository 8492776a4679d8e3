//! The engine: an answer does not depend on what else runs, and memory comes back.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;

use nemo_fast::backend::KvFormat;
use nemo_fast::backend::cpu::{CpuBackend, KernelLevel};
use nemo_fast::checkpoint::Checkpoint;
use nemo_fast::generation::{Engine, FinishReason, Forced, Request, RequestId, Sampling, Stopping};
use nemo_fast::model::{MAX_ROWS, Model};
use proptest::prelude::*;

fn engine(context_length: usize) -> Engine<CpuBackend> {
    engine_on(CpuBackend::new(NonZero::new(1)).unwrap(), context_length, KvFormat::Bf16)
}

fn engine_on(backend: CpuBackend, context_length: usize, kv_format: KvFormat) -> Engine<CpuBackend> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-nemo-fp8-channel");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let model = Model::load(&checkpoint, backend, context_length, &mut |_, _| Ok(())).unwrap();
    Engine::new(model, kv_format, None).unwrap()
}

fn request(prompt: Vec<u32>, max_tokens: usize, seed: u64) -> Request {
    Request {
        prompt,
        choices: 1,
        sampling: Sampling { seed, ..Sampling::default() },
        stopping: Stopping { max_tokens: Some(max_tokens), ignore_eos: true, ..Stopping::default() },
    }
}

/// Steps until nothing is left to do; the tokens of each request's choices.
fn answers(engine: &mut Engine<CpuBackend>) -> BTreeMap<(RequestId, usize), Vec<u32>> {
    let mut answers: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    while !engine.is_idle() {
        for event in engine.step() {
            answers.entry((event.request, event.choice)).or_default().push(event.result.unwrap().token_id);
        }
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn an_answer_is_the_same_alone_and_among_others(
        lengths in prop::collection::vec((1_usize..300, 1_usize..6), 1..7),
        steps_between in 0_usize..3,
        level in prop::sample::select(KernelLevel::available()),
        kv_format in prop::sample::select(&[KvFormat::Bf16, KvFormat::Fp8][..]),
        threads in 1_usize..=4,
    ) {
        let engine = |threads| {
            engine_on(CpuBackend::at_level(level, NonZero::new(threads)).unwrap(), 1024, kv_format)
        };
        let requests: Vec<Request> = lengths
            .iter()
            .enumerate()
            .map(|(i, &(length, max_tokens))| {
                request((0..length).map(|k| ((k * 37 + i * 101) % 1000) as u32).collect(), max_tokens, i as u64)
            })
            .collect();
        let mut one_thread = engine(1);
        let alone: Vec<Vec<u32>> = requests
            .iter()
            .map(|request| {
                one_thread.submit(request).unwrap();
                answers(&mut one_thread).into_values().next().unwrap()
            })
            .collect();
        let mut engine = engine(threads);
        let mut together: BTreeMap<RequestId, Vec<u32>> = BTreeMap::new();
        let mut ids = Vec::new();
        for request in &requests {
            ids.push(engine.submit(request).unwrap());
            for _ in 0..steps_between {
                for event in engine.step() {
                    together.entry(event.request).or_default().push(event.result.unwrap().token_id);
                }
            }
        }
        for ((id, _), tokens) in answers(&mut engine) {
            together.entry(id).or_default().extend(tokens);
        }
        for (id, alone) in ids.iter().zip(&alone) {
            prop_assert_eq!(&together[id], alone);
        }
        prop_assert_eq!(engine.pages().free(), engine.pages().total());
    }
}

#[test]
fn a_cancelled_request_brings_nothing_more_and_gives_its_pages_back() {
    let mut engine = engine(256);
    let first = engine.submit(&request(vec![1, 2, 3], 50, 1)).unwrap();
    let second = engine.submit(&request(vec![4, 5], 3, 1)).unwrap();
    engine.step();
    engine.cancel(first);
    let rest = answers(&mut engine);
    assert_eq!(rest.keys().map(|&(request, _)| request).collect::<Vec<_>>(), [second]);
    assert_eq!(engine.pages().free(), engine.pages().total());
    engine.cancel(first);
    engine.cancel(99);
}

#[test]
fn a_long_prompt_does_not_stall_an_answer_that_runs() {
    let mut engine = engine(2048);
    let talking = engine.submit(&request(vec![1], 20, 1)).unwrap();
    engine.step();
    engine.submit(&request(vec![7; 3 * MAX_ROWS], 1, 1)).unwrap();
    for _ in 0..3 {
        let events = engine.step();
        assert_eq!(events.iter().map(|event| event.request).collect::<Vec<_>>(), [talking]);
    }
}

#[test]
fn choices_end_one_by_one_with_a_reason() {
    let mut engine = engine(256);
    let id = engine.submit(&Request { choices: 3, ..request(vec![1, 2], 4, 9) }).unwrap();
    let mut reasons = Vec::new();
    while !engine.is_idle() {
        reasons.extend(engine.step().into_iter().filter_map(|event| {
            assert_eq!(event.request, id);
            event.result.unwrap().finish_reason.map(|reason| (event.choice, reason))
        }));
    }
    assert_eq!(reasons, [(0, FinishReason::Length), (1, FinishReason::Length), (2, FinishReason::Length)]);
}

#[test]
fn a_text_waits_for_pages_in_the_order_of_the_queue() {
    let mut engine = engine(256);
    let first = engine.submit(&request(vec![1], 150, 1)).unwrap();
    engine.step();
    let second = engine.submit(&request(vec![2], 150, 1)).unwrap();
    let mut text = engine.start_logits(vec![3; 100], vec![99]).unwrap();
    let mut other = engine.start_logits(vec![3; 100], vec![99]).unwrap();
    let mut order = Vec::new();
    loop {
        match engine.step_logits(&mut text) {
            Forced::Ended => break,
            _ => order.extend(engine.step().into_iter().map(|event| event.request)),
        }
    }
    // The text fits beside neither, and came last.
    assert_eq!(order, [vec![first; 149], vec![second; 150]].concat());
    assert_eq!(engine.step_logits(&mut other), Forced::Ended);
    assert_eq!(engine.pages().free(), 0);
    let logits = engine.end_logits(text);
    assert_eq!(engine.end_logits(other), logits);
    assert_eq!(engine.pages().free(), 4);
}

#[test]
fn a_text_that_is_given_up_leaves_the_queue() {
    let mut engine = engine(256);
    let granted = engine.start_logits(vec![3; 100], vec![99]).unwrap();
    let waiting = engine.start_logits(vec![3; 200], vec![99]).unwrap();
    engine.step();
    assert_eq!(engine.pages().free(), 2);
    for text in [waiting, granted] {
        assert!(engine.end_logits(text)[0].is_empty());
    }
    assert!(engine.is_idle());
    assert_eq!(engine.pages().free(), 4);
}
