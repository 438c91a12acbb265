//! Words that no tracked file may hold: notes that work was left undone, and paths of one machine.
//!
//! Work that is not done has no trace in the source; a machine's paths break everyone else's. The words below are
//! written in two halves, so that this table does not find itself.

use super::{Finding, TextFile};

/// Recorded data of others, the history of changes, and files that tools write.
const EXEMPT: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "LICENSE",
    "fuzz/Cargo.lock",
    "fuzz/corpus/",
    "testdata/",
];

const UNDONE: &str = "do the work, or take the promise out";
const UNTESTED: &str = "let the test run, or remove it with the code it does not prove";
const ELSEWHERE: &str = "name the file relative to the repository, and inside it";

const WORDS: &[Word] = &[
    Word {
        text: concat!("to", "do!("),
        how: Match::Part,
        mend: UNDONE,
    },
    Word {
        text: concat!("unimpl", "emented!("),
        how: Match::Part,
        mend: UNDONE,
    },
    Word {
        text: concat!("FIX", "ME"),
        how: Match::Whole,
        mend: UNDONE,
    },
    Word {
        text: concat!("TO", "DO"),
        how: Match::Whole,
        mend: UNDONE,
    },
    Word {
        text: concat!("X", "XX"),
        how: Match::Whole,
        mend: UNDONE,
    },
    Word {
        text: concat!("for", " now"),
        how: Match::WholeAnyCase,
        mend: UNDONE,
    },
    Word {
        text: concat!("not yet", " implemented"),
        how: Match::WholeAnyCase,
        mend: UNDONE,
    },
    Word {
        text: concat!("place", "holder"),
        how: Match::PartAnyCase,
        mend: UNDONE,
    },
    Word {
        text: concat!("#[ign", "ore"),
        how: Match::Part,
        mend: UNTESTED,
    },
    Word {
        text: concat!("/wo", "rk/"),
        how: Match::PathStart,
        mend: ELSEWHERE,
    },
    Word {
        text: concat!("../sha", "red"),
        how: Match::Part,
        mend: ELSEWHERE,
    },
];

struct Word {
    text: &'static str,
    how: Match,
    mend: &'static str,
}

#[derive(Clone, Copy)]
enum Match {
    /// Anywhere.
    Part,
    /// Anywhere, in upper or lower case.
    PartAnyCase,
    /// Not as a part of a longer word.
    Whole,
    /// Not as a part of a longer word, in upper or lower case.
    WholeAnyCase,
    /// As the beginning of an absolute path: not behind a letter, a digit, a dot or another path segment.
    PathStart,
}

pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    if EXEMPT.iter().any(|place| is_in(&file.path, place)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, text) in (1..).zip(file.text.lines()) {
        for word in WORDS.iter().filter(|word| word.is_in(text)) {
            findings.push(Finding::at(
                &file.path,
                line,
                format!("holds `{}`", word.text),
                word.mend,
            ));
        }
    }
    findings
}

fn is_in(path: &str, place: &str) -> bool {
    if place.ends_with('/') {
        path.starts_with(place)
    } else {
        path == place
    }
}

impl Word {
    fn is_in(&self, line: &str) -> bool {
        let lower;
        let line = match self.how {
            Match::PartAnyCase | Match::WholeAnyCase => {
                lower = line.to_lowercase();
                &lower
            }
            Match::Part | Match::Whole | Match::PathStart => line,
        };
        line.match_indices(self.text)
            .any(|(at, _)| self.fits(&line[..at], &line[at + self.text.len()..]))
    }

    fn fits(&self, before: &str, after: &str) -> bool {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        match self.how {
            Match::Part | Match::PartAnyCase => true,
            Match::Whole | Match::WholeAnyCase => !before.ends_with(is_word) && !after.starts_with(is_word),
            Match::PathStart => {
                !before.ends_with(|last| is_word(last) || matches!(last, '.' | '-' | '}' | '>'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&TextFile {
            path: path.into(),
            text: text.into(),
        })
        .len()
    }

    #[test]
    fn every_word_is_found_and_shows_its_line() {
        for word in WORDS {
            let text = format!("a\n({} b", word.text);
            let findings = check(&TextFile {
                path: "docs/a.md".into(),
                text,
            });
            assert!(
                findings.iter().any(|finding| finding.line == Some(2)),
                "{}",
                word.text
            );
        }
    }

    #[test]
    fn case_counts_only_where_it_should() {
        assert_eq!(found("a.rs", concat!("FOR", " NOW")), 1);
        assert_eq!(found("a.rs", concat!("Place", "Holders")), 1);
        assert_eq!(found("a.rs", concat!("a to", "do list")), 0);
    }

    #[test]
    fn longer_words_are_other_words() {
        assert_eq!(found("a.sh", concat!("mktemp -d annals.X", "XXXXX")), 0);
        assert_eq!(found("a.md", concat!("for", " nowhere")), 0);
        assert_eq!(found("a.rs", concat!("src/wo", "rk/a.rs")), 0);
        assert_eq!(found("a.rs", concat!("\"/wo", "rk/a.rs\"")), 1);
    }

    #[test]
    fn history_and_recorded_data_are_exempt() {
        let text = WORDS[0].text;
        assert_eq!(found("CHANGELOG.md", text), 0);
        assert_eq!(found("testdata/real/a.ndjson", text), 0);
        assert_eq!(found("docs/CHANGELOG.md", text), 1);
    }
}
