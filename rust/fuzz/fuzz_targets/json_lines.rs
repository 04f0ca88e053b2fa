//! `count_objects` agrees with serde_json about every text that it accepts, and accepts all that it should.
#![no_main]

use std::fmt;

use libfuzzer_sys::fuzz_target;
use packsort_core::json_lines::count_objects;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

fuzz_target!(|input: (u8, &[u8])| {
    let (max_depth, text) = (usize::from(input.0 % 8) + 1, input.1);
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.iter().all(is_space)).collect();
    let found = count_objects(text, max_depth);
    if let Some(objects) = found {
        assert_eq!(objects, lines.len());
        for line in &lines {
            let line = line.trim_ascii();
            assert!(line.first() == Some(&b'{') && matches!(line.last(), Some(b'}' | b']')));
        }
    }
    let values: Option<Vec<Nested>> = lines.iter().map(|line| serde_json::from_slice(line).ok()).collect();
    if let Some(values) = values {
        let counts = values.iter().all(|value| value.is_object && value.depth <= max_depth);
        assert_eq!(found, counts.then_some(values.len()));
    }
});

/// Levels of lists and objects in a value of JSON. Unlike `serde_json::Value`, it counts keys that come twice.
struct Nested {
    depth: usize,
    is_object: bool,
}

impl<'de> Deserialize<'de> for Nested {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Levels)
    }
}

struct Levels;

/// Read a value that holds no others.
macro_rules! scalars {
    ($($method:ident($kind:ty)),*) => {
        $(fn $method<E>(self, _: $kind) -> Result<Nested, E> { Ok(Nested { depth: 0, is_object: false }) })*
    };
}

impl<'de> Visitor<'de> for Levels {
    type Value = Nested;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    scalars!(visit_bool(bool), visit_i64(i64), visit_u64(u64), visit_f64(f64), visit_str(&str));

    fn visit_unit<E>(self) -> Result<Nested, E> {
        Ok(Nested { depth: 0, is_object: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Nested, A::Error> {
        let mut depth = 0;
        while let Some(value) = list.next_element::<Nested>()? {
            depth = depth.max(value.depth);
        }
        Ok(Nested { depth: depth + 1, is_object: false })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Nested, A::Error> {
        let mut depth = 0;
        while let Some((_, value)) = object.next_entry::<IgnoredAny, Nested>()? {
            depth = depth.max(value.depth);
        }
        Ok(Nested { depth: depth + 1, is_object: true })
    }
}
