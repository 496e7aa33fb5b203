//! A state of the small world as one number, such that states which differ only in names and in the age of the world are one.
//!
//! A state is what its parts print of themselves, hashed word by word while it is printed. Moments are taken relative to now;
//! numbers that only tell things apart (pods, containers, requests, calls, intents, tokens) are replaced by the order in
//! which they come; counters for the next such number and the random seed are left out. Spans are shorter than
//! [`MOMENTS`] and moments later, which tells them apart. Names are taken in the order in which the kubelet has its pods, so
//! a world whose first pod is gone is the same as one that never had it. 128 bits: that two of a hundred million states have
//! one number is less likely than one to 10^22.

use std::fmt::{self, Write};

use crate::{ids, world::World};

/// The small world begins after so many nanoseconds, and none of its spans is longer.
const MOMENTS: u64 = 100_000_000_000;
/// What lies further ahead is not reached within a search's depth: only the jitter of the next look tells such states apart.
const FAR: u64 = 360_000_000_000;
/// Wall clock readings in milliseconds are greater.
const READINGS: u64 = 1_000_000_000_000;

/// What a number stands for, by the word before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Number,
    /// A counter, or the seed: left out.
    Left,
    Pod,
    Container,
    Name,
    Token,
    Intent,
    Request,
    Call,
}

impl Meaning {
    fn after(word: &[u8]) -> Self {
        match word {
            b"next" | b"next_id" | b"Rng" | b"commits" => Self::Left,
            b"uid" => Self::Pod,
            b"container" => Self::Container,
            b"IntentId" | b"intent" | b"id" => Self::Intent,
            b"RequestId" => Self::Request,
            b"CallId" => Self::Call,
            _ => Self::Number,
        }
    }
}

/// Takes text in pieces and hashes its words.
struct Words {
    hash: [u64; 2],
    /// The beginning of a word that goes on in the next piece.
    word: Vec<u8>,
    next: Meaning,
    /// What only tells things apart, in the order of first appearance.
    names: Vec<(Meaning, u64)>,
    boot: u64,
    wall: u64,
}

impl Words {
    /// Two multiplications and some shifts: far cheaper than the standard hash, and nobody attacks here.
    fn mix(&mut self, n: u64) {
        let [a, b] = self.hash;
        let a = (a.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
        let b = (b.rotate_left(23) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash = [a ^ a >> 29, b ^ b >> 32];
    }

    fn mix_name(&mut self, meaning: Meaning, n: u64) {
        let name = (meaning, n);
        let at = self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        self.mix(u64::try_from(at).unwrap_or(u64::MAX) | 1 << 63);
    }

    fn take_word(&mut self, word: &[u8]) {
        if word.first().is_some_and(u8::is_ascii_digit) {
            if let Some(n) = number(word) {
                return self.take_number(n);
            }
            if let Some(nanos) = span(word) {
                return self.take_moment(nanos);
            }
        }
        let name = match word.first() {
            Some(b'c') => Some((Meaning::Container, &b"c"[..])),
            Some(b'u') => Some((Meaning::Pod, &b"uid-"[..])),
            Some(b'p') => Some((Meaning::Name, &b"pod-"[..])),
            _ => None,
        };
        if let Some((meaning, prefix)) = name
            && let Some(n) = word.strip_prefix(prefix).and_then(number)
        {
            return self.mix_name(meaning, n);
        }
        self.next = Meaning::after(word);
        let text = hash(word);
        if word.starts_with(b"tw-") {
            return self.mix_name(Meaning::Token, text);
        }
        self.mix(text);
    }

    fn take_number(&mut self, n: u64) {
        match self.next {
            Meaning::Left => {}
            Meaning::Number if n > READINGS => self.mix(n.wrapping_sub(self.wall)),
            Meaning::Number | Meaning::Name | Meaning::Token => self.mix(n),
            meaning @ (Meaning::Pod
            | Meaning::Container
            | Meaning::Intent
            | Meaning::Request
            | Meaning::Call) => self.mix_name(meaning, n),
        }
    }

    fn take_moment(&mut self, nanos: u64) {
        self.mix(match nanos {
            ..MOMENTS => nanos,
            _ if nanos > self.boot.saturating_add(FAR) => FAR,
            _ => nanos.wrapping_sub(self.boot),
        });
    }

    fn end(&mut self) {
        if !self.word.is_empty() {
            let mut word = std::mem::take(&mut self.word);
            self.take_word(&word);
            // The buffer is used again.
            word.clear();
            self.word = word;
        }
    }
}

impl Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_word = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' | b'-' | b'.' | b'_' | 128..);
        let mut rest = text.as_bytes();
        while let Some(first) = rest.first() {
            if is_word(first) {
                let end = rest.iter().position(|b| !is_word(b)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                if self.word.is_empty() && !after.is_empty() {
                    self.take_word(word);
                } else {
                    self.word.extend_from_slice(word);
                }
                rest = after;
            } else {
                self.end();
                if !matches!(first, b' ' | b'"' | b'\\') {
                    self.mix(u64::from(*first));
                }
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        Ok(())
    }
}

fn hash(word: &[u8]) -> u64 {
    let mix = |hash: u64, n: u64| (hash.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (eights, rest) = word.as_chunks();
    let whole = eights.iter().fold(0, |hash, eight| mix(hash, u64::from_le_bytes(*eight)));
    let last = rest.iter().fold(1, |n, b| (n << 8) | u64::from(*b));
    mix(whole, last)
}

fn number(word: &[u8]) -> Option<u64> {
    let digit = |n: Option<u64>, b: &u8| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n?.checked_mul(10)?.checked_add(digit)
    };
    if word.is_empty() { None } else { word.iter().fold(Some(0), digit) }
}

/// Nanoseconds of a printed duration such as `1.5s` or `30ms`.
fn span(word: &[u8]) -> Option<u64> {
    let end = word.iter().rposition(u8::is_ascii_digit)? + 1;
    let (digits, unit) = word.split_at(end);
    let unit: u64 = match unit {
        b"s" => 1_000_000_000,
        b"ms" => 1_000_000,
        b"\xc2\xb5s" => 1_000,
        b"ns" => 1,
        _ => return None,
    };
    let mut parts = digits.splitn(2, |b| *b == b'.');
    let mut nanos = number(parts.next()?)?.checked_mul(unit)?;
    let mut place = unit;
    for digit in parts.next().unwrap_or_default() {
        place /= 10;
        nanos += number(&[*digit])? * place;
    }
    Some(nanos)
}

/// The number of a state.
pub(crate) fn number_of(w: &World) -> u128 {
    let now = w.now();
    let mut words = Words {
        hash: [0, 0],
        word: Vec::with_capacity(64),
        next: Meaning::Number,
        names: Vec::new(),
        boot: u64::try_from(now.boot.as_nanos()).unwrap_or(u64::MAX),
        wall: now.wall.0,
    };
    // Writing into `Words` cannot fail.
    let _written = write_state(w, &mut words);
    words.end();
    let [a, b] = words.hash;
    u128::from(a) << 64 | u128::from(b)
}

fn write_state(w: &World, out: &mut Words) -> fmt::Result {
    for pod in w.node.kubelet.pods.values() {
        write!(out, "{:?} {:?} {:?};", pod.pod, pod.slot, pod.sandbox.map(ids::container))?;
    }
    for sandbox in w.node.runtime.sandboxes.values() {
        write!(out, "{sandbox:?};")?;
    }
    write!(out, "{:?}|{:?}|{:?}|", w.node.runtime.blank, w.node.kernel, w.node.kubelet.holders)?;
    write!(out, "{:?}|{:?}|{:?}|{:?}|", w.adds, w.dels, w.tickets, w.ghosts)?;
    write!(out, "{:?}|{:?}|{:?}|{:?}|", w.cloud, w.oracle, w.judged, w.daemon)?;
    for (key, value) in w.disk.entries() {
        for part in [key, "=", &value, ";"] {
            out.write_str(part)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::small::begin;

    #[test]
    fn a_later_world_with_other_names_is_the_same_state() {
        let pod = |w: &mut World| {
            let _sent = w.new_pod();
            let add = w.adds.len() - 1;
            w.move_add(add);
            w.take_turn();
        };
        let first = begin(true, None);
        let mut second = first.clone();
        second.node.kubelet.number();
        second.node.runtime.number();
        assert_eq!(number_of(&first), number_of(&second));
        let (mut one, mut other) = (first.clone(), second);
        one.dice = crate::dice::Dice::new(7);
        other.dice = crate::dice::Dice::new(7);
        pod(&mut one);
        pod(&mut other);
        assert_eq!(number_of(&one), number_of(&other));
        assert_ne!(number_of(&one), number_of(&first));
    }

    #[test]
    fn printed_durations_are_read_back() {
        for nanos in [0, 1, 1_500, 250_000_000, 1_000_000_000, 100_000_001_000] {
            let printed = format!("{:?}", Duration::from_nanos(nanos));
            assert_eq!(span(printed.as_bytes()), Some(nanos), "{printed}");
        }
        assert_eq!(span(b"eni-1"), None);
        assert_eq!(span(b"addresses"), None);
    }
}
