//! Token budgets, counters, indices and offsets against brute force with the plain path.

use nemo_fast::tokenizer::{CostlyCharacter, OffsetUnit, TokenCounter, TokenIndex, Tokenizer};
use proptest::prelude::*;

/// Characters of all classes, and words whose prefixes cost more than they do.
fn soup() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "Première",
        "Prem",
        "A",
        "BC",
        "x",
        "é",
        "中",
        "文字",
        "\u{301}",
        "😀",
        "1",
        "½",
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\n\n",
        "/",
        "+",
        "+\u{301}\n/",
        "==",
        "don't",
        "aaaaaaaaaaaaaaaa",
        "\u{3000}",
        "ǅ",
        "ʰ",
        " the",
    ]);
    prop::collection::vec(parts, 0..14).prop_map(|parts| parts.concat())
}

fn boundaries(text: &str) -> impl DoubleEndedIterator<Item = usize> + '_ {
    (0..=text.len()).filter(|&at| text.is_char_boundary(at))
}

proptest! {
    #[test]
    fn the_longest_prefix_and_suffix_that_fit(text in soup(), limit in 0_usize..24) {
        let tokenizer = Tokenizer::embedded();
        let count = |text: &str| tokenizer.encode_plain(text).len();
        let end = boundaries(&text).rev().find(|&end| count(&text[..end]) <= limit).unwrap();
        prop_assert_eq!(tokenizer.prefix_end(&text, limit), end);
        let start = boundaries(&text).find(|&start| count(&text[start..]) <= limit).unwrap();
        prop_assert_eq!(tokenizer.suffix_start(&text, limit), start);
        let all = count(&text);
        prop_assert_eq!(tokenizer.count_up_to(&text, limit), (all <= limit).then_some(all));
        prop_assert_eq!(tokenizer.fits(&text, limit), all <= limit);
    }

    #[test]
    fn without_the_middle(text in soup(), limit in 0_usize..24) {
        let tokenizer = Tokenizer::embedded();
        let count = |text: &str| tokenizer.encode_plain(text).len();
        let (end, start) = tokenizer.without_middle(&text, limit);
        if count(&text) <= limit {
            prop_assert_eq!((end, start), (text.len(), text.len()));
        } else {
            prop_assert_eq!(end, tokenizer.prefix_end(&text, limit.div_ceil(2)));
            let (prefix, rest) = (&text[..end], limit - count(&text[..end]));
            let join_fits = |start: usize| count(&[prefix, &text[start..]].concat()) <= limit;
            let longest = boundaries(&text)
                .find(|&start| start >= end && count(&text[start..]) <= rest && join_fits(start));
            prop_assert_eq!(Some(start), longest);
        }
    }

    #[test]
    fn parts_are_the_longest_that_fit(text in soup(), limit in 0_usize..12, overlap in 0_usize..12) {
        let tokenizer = Tokenizer::embedded();
        let count = |text: &str| tokenizer.encode_plain(text).len();
        let overlap = overlap.min(limit.saturating_sub(1));
        let longest = |start: usize| boundaries(&text).rev().find(|&end| end >= start && count(&text[start..end]) <= limit).unwrap();
        let mut expected = Ok(Vec::new());
        let (mut previous, mut done) = (0, 0);
        while done < text.len() {
            let starts = boundaries(&text).filter(|&start| (previous..=done).contains(&start));
            let start = starts.into_iter().find(|&start| count(&text[start..done]) <= overlap && longest(start) > done);
            let Some(start) = start else {
                let character = text[done..].chars().next().unwrap().to_string();
                expected = Err(CostlyCharacter { at: done, count: count(&character) });
                break;
            };
            (previous, done) = (start, longest(start));
            expected.as_mut().unwrap().push(start..done);
        }
        prop_assert_eq!(tokenizer.split(&text, limit, overlap), expected);
    }

    #[test]
    fn a_counter_counts_the_concatenation(parts in prop::collection::vec(soup(), 0..12), is_read: u16) {
        let tokenizer = Tokenizer::embedded();
        let mut counter = TokenCounter::new(tokenizer.clone());
        let mut text = String::new();
        for (number, part) in parts.iter().enumerate() {
            counter.append(part);
            text.push_str(part);
            if is_read >> number & 1 != 0 {
                prop_assert_eq!(counter.count(), tokenizer.encode_plain(&text).len());
            }
        }
        prop_assert_eq!(counter.count(), tokenizer.encode_plain(&text).len());
    }

    #[test]
    fn an_index_counts_every_range(texts in prop::collection::vec(soup(), 0..40), cuts: [u16; 8]) {
        let (tokenizer, text) = (Tokenizer::embedded(), texts.concat());
        let index = TokenIndex::new(tokenizer.clone(), text.clone());
        let places: Vec<usize> = boundaries(&text).collect();
        prop_assert_eq!(index.len(), places.len() - 1);
        for cut in cuts.chunks(2) {
            let mut range = [usize::from(cut[0]) % places.len(), usize::from(cut[1]) % places.len()];
            range.sort_unstable();
            let [start, stop] = range;
            let expected = tokenizer.encode_plain(&text[places[start]..places[stop]]).len();
            prop_assert_eq!(index.count(start..stop), expected, "{}..{}", start, stop);
        }
    }

    #[test]
    fn spans_are_where_the_tokens_are(text in soup()) {
        let tokenizer = Tokenizer::embedded();
        let (ids, bytes) = tokenizer.encode_with_offsets(&text, OffsetUnit::Byte);
        prop_assert_eq!(&ids, &tokenizer.encode_plain(&text));
        let joined = bytes.iter().flat_map(|&[start, end]| text.as_bytes()[start..end].iter().copied());
        prop_assert_eq!(joined.collect::<Vec<u8>>(), text.as_bytes());
        let (_, characters) = tokenizer.encode_with_offsets(&text, OffsetUnit::Char);
        let places: Vec<usize> = boundaries(&text).collect();
        for ((&id, [start, end]), [first, last]) in ids.iter().zip(bytes).zip(characters) {
            prop_assert_eq!(tokenizer.token_table().token_bytes(id).unwrap(), &text.as_bytes()[start..end]);
            prop_assert!(places[first] <= start && start < places[first + 1]);
            prop_assert!(places[last - 1] < end && end <= places[last]);
        }
    }
}

#[test]
fn a_million_of_one_letter_are_cut() {
    let tokenizer = Tokenizer::embedded();
    for character in ["a", "A", "中", "=", " ", "\n", "\u{301}", "A\u{301}B", "+\u{301}\n/", "1"] {
        let text = character.repeat(1_000_000 / character.len());
        for limit in [0, 1, 1_000] {
            let end = tokenizer.prefix_end(&text, limit);
            assert!(tokenizer.count(&text[..end]) <= limit);
            let start = tokenizer.suffix_start(&text, limit);
            assert!(tokenizer.count(&text[start..]) <= limit);
            assert!(limit < 1_000 || (end > 0 && start < text.len()), "{character:?}");
        }
        let parts = tokenizer.split(&text, 10_000, 100).unwrap();
        assert!(parts.windows(2).all(|pair| pair[1].start <= pair[0].end && pair[0].end < pair[1].end));
        assert!(parts.iter().all(|part| tokenizer.fits(&text[part.clone()], 10_000)));
        assert_eq!(parts.last().unwrap().end, text.len());
        let mut counter = TokenCounter::new(tokenizer.clone());
        for part in parts {
            counter.append(&text[part]);
        }
        assert!(counter.count() >= tokenizer.count(&text));
    }
}
