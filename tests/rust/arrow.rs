//! Arrow arrays out of the crate and in again: what a consumer is lent, and when it is released.

#![allow(unsafe_code, reason = "the interface is made of raw pointers")]

use std::sync::Arc;

use nemo_fast::arrow::c_data::ArrowArray;
use nemo_fast::arrow::{ArrowError, Chunk, Column, Texts};

fn ids(texts: &[Option<&str>]) -> Chunk {
    Chunk::ids(texts.iter().copied(), |text, ids| ids.extend(text.bytes().map(u32::from)))
}

#[test]
fn a_chunk_with_too_many_ids_makes_all_lists_large() {
    let chunks = || vec![ids(&[Some("ab"), None]), ids(&[Some("abc")])];
    assert_eq!(Column::ids(chunks(), 3).type_name(), "list<uint32>");
    let large = Arc::new(Column::ids(chunks(), 2));
    assert_eq!(large.type_name(), "large_list<uint32>");
    // Joined, the ids fit in a list of the usual size.
    assert_eq!(large.joined().type_name(), "list<uint32>");
    assert_eq!((large.len(), large.null_count(), large.chunk_count()), (3, 1, 2));

    let array = large.array(0).unwrap();
    // SAFETY: a live list array has two buffers, the second with an i64 for each value and one more.
    let offsets = unsafe { std::slice::from_raw_parts((*array.buffers.add(1)).cast::<i64>(), 3) };
    assert_eq!(offsets, [0, 2, 2]);
}

#[test]
fn a_child_that_was_moved_away_outlives_its_parent() {
    let column = Column::ids(vec![ids(&[Some("ab")])], Column::LIST_MAX);
    let array = column.array(0).unwrap();
    // SAFETY: a live list array has one child, which a consumer may move.
    let child = unsafe { ArrowArray::take(*array.children) };
    drop(array);
    drop(column);
    // SAFETY: the child is live, and has two buffers, the second with a u32 for each value.
    let values = unsafe { std::slice::from_raw_parts((*child.buffers.add(1)).cast::<u32>(), 2) };
    assert_eq!(values, [97, 98]);
}

#[test]
fn released_structs_are_refused() {
    let column = Arc::new(Column::counts(vec![Chunk::counts([Some(1)].into_iter())]));
    let mut stream = column.stream();
    assert!(stream.next_array().unwrap().is_some());
    assert!(stream.next_array().unwrap().is_none());
    // SAFETY: an array that is released is not read.
    let released = unsafe { Texts::new(ArrowArray::default(), &column.schema()) };
    assert_eq!(
        released.unwrap_err(),
        ArrowError::Broken("the array or its schema is already released".to_owned())
    );
    // SAFETY: both are as the crate makes them.
    let counts = unsafe { Texts::new(column.array(0).unwrap(), &column.schema()) };
    assert_eq!(counts.unwrap_err(), ArrowError::NotTexts { found: "int64".to_owned() });
}
