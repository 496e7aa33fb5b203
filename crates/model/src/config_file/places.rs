//! Where the keys of a configuration file stand, for messages. The YAML parser tells, so flow style, quotes and comments make
//! no difference.

use serde_saphyr::granit_parser::{Event, Parser};

/// A key of the file.
#[derive(Debug, Clone)]
struct Place {
    /// Dotted key.
    key: String,
    /// Line and column, from 1.
    at: (u64, u64),
}

/// The keys of a text, in its order; those behind an error of syntax are missing.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Vec<Place>);

/// A collection that the parser is in.
enum Around {
    /// With the key whose value comes next; none when a key does.
    Mapping(Option<String>),
    Sequence,
}

impl Places {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Self {
        let mut places = Vec::new();
        let mut around: Vec<Around> = Vec::new();
        for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
            match (event, around.last_mut()) {
                (Event::MappingStart(..), _) => around.push(Around::Mapping(None)),
                (Event::SequenceStart(..), _) => around.push(Around::Sequence),
                (Event::Scalar(text, ..), Some(Around::Mapping(key @ None))) => {
                    *key = Some(text.into_owned());
                    let at = [span.start.line(), span.start.col().saturating_add(1)];
                    let [line, column] = at.map(|n| u64::try_from(n).unwrap_or(u64::MAX));
                    places.push(Place { key: dotted(&around), at: (line, column) });
                }
                (Event::Scalar(..) | Event::Alias(_), _) => end_value(&mut around),
                (Event::MappingEnd | Event::SequenceEnd, _) => {
                    drop(around.pop());
                    end_value(&mut around);
                }
                _ => {}
            }
        }
        Self(places)
    }

    /// Line of a dotted key; none when the file does not have it.
    pub(super) fn line(&self, key: &str) -> Option<u64> {
        self.0.iter().find(|place| place.key == key).map(|place| place.at.0)
    }

    /// The key that stands at a place, or whose value does.
    pub(super) fn key_at(&self, at: (u64, u64)) -> Option<&str> {
        self.0.iter().take_while(|place| place.at <= at).last().map(|place| place.key.as_str())
    }
}

fn dotted(around: &[Around]) -> String {
    let keys = around.iter().filter_map(|collection| match collection {
        Around::Mapping(key) => key.as_deref(),
        Around::Sequence => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

fn end_value(around: &mut [Around]) {
    if let Some(Around::Mapping(key)) = around.last_mut() {
        *key = None;
    }
}
