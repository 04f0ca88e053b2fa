//! A count of the objects in a text of JSON Lines, without parsing it.
//!
//! A reader of JSON may crash on text that nests deep, and may take `null` for a row. [`count_objects`] tells at the
//! speed of memory whether a text has one shallow object on each line, so that only other texts need a slower reader.

use memchr::memchr3;

/// Return the number of objects of a text with one object on each line, or `None` for any other text.
///
/// Lines of white space do not count. Strings are skipped, so brackets in them do not matter. The text may still be
/// invalid JSON within an object: brackets of different kinds are not told apart, and values are not looked at.
///
/// # Arguments
/// - `max_depth`: the most levels that lists and objects may be nested, at least 1.
///
/// # Complexity
/// One pass over the text; strings pass at the speed of `memchr`.
///
/// # Examples
/// ```
/// use packsort_core::json_lines::count_objects;
///
/// assert_eq!(count_objects(b"{\"a\": \"[[[\"}\n\n{\"a\": [1]}", 2), Some(2));
/// assert_eq!(count_objects(b"{\"a\": [1]}", 1), None, "nested deeper");
/// assert_eq!(count_objects(b"null\n", 2), None, "not an object");
/// assert_eq!(count_objects(b"{\"a\":\n1}", 2), None, "on two lines");
/// ```
#[must_use]
pub fn count_objects(text: &[u8], max_depth: usize) -> Option<usize> {
    let mut objects = 0;
    let mut at = 0;
    while let Some(start) = skip_space(text, at, true) {
        let end = object_end(text, start, max_depth)?;
        at = match skip_space(text, end, false) {
            Some(next) if text[next] != b'\n' => return None,
            Some(next) => next,
            None => text.len(),
        };
        objects += 1;
    }
    Some(objects)
}

/// Return the place of the first byte from `at` on that is no white space; a line feed is some if `line_feeds` says so.
fn skip_space(text: &[u8], at: usize, line_feeds: bool) -> Option<usize> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r') || (line_feeds && *byte == b'\n');
    Some(at + text[at..].iter().position(|byte| !is_space(byte))?)
}

/// Return the place after the object that begins at `start` and ends on the same line.
fn object_end(text: &[u8], start: usize, max_depth: usize) -> Option<usize> {
    if text[start] != b'{' {
        return None;
    }
    let (mut depth, mut at) = (0, start);
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at + 1)?,
            b'\n' => return None,
            byte => {
                at += 1;
                match byte {
                    b'{' | b'[' if depth == max_depth => return None,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth == 1 => return Some(at),
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
            }
        }
    }
}

/// Return the place after the closing quote of a string whose text begins at `at`.
fn string_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr3(b'"', b'\\', b'\n', text.get(at..)?)?;
        match text[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_on_each_line_is_counted() {
        for (text, expected) in
            [("", 0), (" \r\n\t\n", 0), ("{}", 1), ("{}\r\n {} \n", 2), (r#"{"a": "}{][", "b\"": "\\"}"#, 1)]
        {
            assert_eq!(count_objects(text.as_bytes(), 1), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn any_other_text_is_not() {
        for text in [
            "null",
            "[]",
            "{",
            "}",
            "{}}",
            "{} {}",
            "{},",
            "{\n}",
            "{\"a\n\": 1}",
            r#"{"a"#,
            r#"{"a\"#,
            r#"{"a": "b\"}"#,
        ] {
            assert_eq!(count_objects(text.as_bytes(), 9), None, "{text:?}");
        }
    }

    #[test]
    fn depth_counts_objects_and_lists() {
        assert_eq!(count_objects(b"{\"a\": [{}, [[]]]}", 4), Some(1));
        assert_eq!(count_objects(b"{\"a\": [{}, [[]]]}", 3), None);
    }
}
