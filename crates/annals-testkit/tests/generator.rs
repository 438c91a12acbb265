//! The load generator: what it promises about its events.

use std::collections::HashMap;

use annals_core::draft::DraftParser;
use annals_core::field::Field;
use annals_core::filter::{claimed_time, terms};
use annals_core::hash::EventHash;
use annals_core::limits::EventLimits;
use annals_testkit::filters::body_of;
use annals_testkit::generator::{Generator, Plant, Shape};
use serde_json::Value;

/// The bytes that figures are measured on. Red when: any share, weight or order of draws is changed.
#[test]
fn the_same_seed_gives_the_same_events() {
    for (shape, digest) in [
        (
            Shape::Seed,
            "1706ef0e3db72d33f7bef60642e1140b327f5e25f72a27d7be6618f0e17b41da",
        ),
        (
            Shape::Extended,
            "57ac9aae7eaf734b7661802b51f2d7afff754aa00fb3e4676cc66f2ae3708736",
        ),
        (
            Shape::Full,
            "b72b1a07a1d69d2407742a267381a271e514432ab4e928c54dd9d583c8c03d0b",
        ),
    ] {
        let events = |seed: u64| {
            let mut generator = Generator::new(shape, seed);
            let mut bytes = Vec::new();
            for _ in 0..10_000 {
                bytes.extend_from_slice(generator.next_event());
            }
            EventHash::of(&bytes).to_string()
        };
        assert_eq!(events(1), digest, "{shape:?}");
        assert_ne!(events(2), digest, "{shape:?}");
    }
}

#[test]
fn events_weigh_what_is_said() {
    for (shape, least, most) in [
        (Shape::Seed, 290, 310),
        (Shape::Extended, 440, 460),
        (Shape::Full, 680, 720),
    ] {
        let mut generator = Generator::new(shape, 3);
        let events = 5_000;
        let bytes: usize = (0..events)
            .map(|at| {
                let request: Value = serde_json::from_slice(generator.next_event()).unwrap();
                body_of(&request, 5_000_000 + at).len()
            })
            .sum();
        let mean = bytes as u64 / events;
        assert!((least..=most).contains(&mean), "{shape:?}: {mean}");
    }
}

#[test]
fn events_are_acceptable() {
    let mut parser = DraftParser::new(EventLimits::default());
    for shape in [Shape::Seed, Shape::Extended, Shape::Full] {
        let mut generator = Generator::new(shape, 4);
        for _ in 0..2_000 {
            let draft = parser.parse(generator.next_event()).unwrap();
            assert_eq!(draft.is_extended(), shape != Shape::Seed);
        }
    }
}

/// How often each value of each field occurs in 50,000 events.
fn census(shape: Shape) -> HashMap<Field, HashMap<String, u32>> {
    let mut census: HashMap<Field, HashMap<String, u32>> = HashMap::new();
    let mut generator = Generator::new(shape, 5);
    let mut last = None;
    for id in 1..=50_000 {
        let body = body_of(&serde_json::from_slice(generator.next_event()).unwrap(), id);
        terms(&body, |field, raw| {
            let value = String::from_utf8(raw.to_vec()).unwrap();
            *census.entry(field).or_default().entry(value).or_default() += 1;
        });
        let claimed = claimed_time(&body).expect("a time");
        if shape == Shape::Full {
            assert!(last <= Some(claimed));
            last = Some(claimed);
        }
    }
    census
}

#[test]
fn fields_are_skewed_as_documented() {
    let census = census(Shape::Full);
    assert!(Field::ALL.iter().all(|field| census.contains_key(field)));
    let distinct = |field: Field| census[&field].len();
    let share = |field: Field, value: &str| f64::from(census[&field][value]) / 50_000.0;
    let top = |field: Field| f64::from(*census[&field].values().max().unwrap()) / 50_000.0;
    assert_eq!(distinct(Field::Kind), 20);
    assert_eq!(distinct(Field::Source), 12);
    assert_eq!(distinct(Field::Tenant), 50);
    assert_eq!(distinct(Field::ResourceType), 8);
    assert_eq!(distinct(Field::Request), 50_000);
    assert!((0.89..0.91).contains(&share(Field::Outcome, "success")));
    assert!((0.06..0.08).contains(&share(Field::Outcome, "failure")));
    assert!((0.02..0.04).contains(&share(Field::Outcome, "denied")));
    assert!((0.25..0.31).contains(&share(Field::Kind, "request_allowed")));
    assert!(
        (0.09..0.18).contains(&share(Field::Actor, "svc-0")),
        "{}",
        top(Field::Actor)
    );
    assert!(
        (1_000..3_500).contains(&distinct(Field::Actor)),
        "{}",
        distinct(Field::Actor)
    );
    assert!(
        (3_000..4_200).contains(&distinct(Field::Session)),
        "{}",
        distinct(Field::Session)
    );
    assert!(
        (35_000..42_000).contains(&distinct(Field::Resource)),
        "{}",
        distinct(Field::Resource)
    );
    assert!(top(Field::Resource) < 0.001);
}

/// Red when: `self.left -= 1` is left out of `next_planted`.
#[test]
fn planted_actors_have_their_hits() {
    let plants = [("never", 0), ("once", 1), ("often", 100), ("tenth", 2_000)];
    let plant = |(actor, hits): &(&str, u64)| Plant {
        actor: (*actor).to_owned(),
        hits: *hits,
    };
    let plants_of = plants.iter().map(plant).collect::<Vec<_>>();
    for shape in [Shape::Seed, Shape::Extended] {
        let mut generator = Generator::new(shape, 6).planting(20_000, &plants_of);
        let mut hits: HashMap<String, Vec<u64>> = HashMap::new();
        for at in 0..25_000 {
            let event: Value = serde_json::from_slice(generator.next_event()).unwrap();
            let actor = match shape {
                Shape::Seed => &event["payload"]["actor"],
                _ => &event["actor"]["id"],
            };
            hits.entry(actor.as_str().unwrap().to_owned())
                .or_default()
                .push(at);
        }
        for (actor, expected) in plants {
            assert_eq!(hits.get(actor).map_or(0, Vec::len) as u64, expected, "{actor}");
        }
        let spread = &hits["tenth"];
        assert!(spread[0] < 200 && spread[1_999] > 19_500 && spread[1_999] < 20_000);
        assert!((8_500..11_500).contains(&spread[1_000]));
    }
}
