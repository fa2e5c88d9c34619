use super::{Stacks, allocations};

fn stacks() -> Stacks {
    let mut stacks = Stacks::default();
    let mut add = |stack: &[&str], count| stacks.add(stack.iter().map(|name| (*name).to_owned()).collect(), count);
    add(&["main", "roomcast::publish", "memcpy"], 60);
    add(&["main", "roomcast::publish"], 20);
    add(&["main", "roomcast_lab::draw<T>"], 19);
    add(&["main", "too rare to be seen"], 0);
    add(&["shard", "main"], 1);
    stacks
}

#[test]
fn boxes_are_as_wide_as_what_was_counted() {
    let svg = stacks().flame("A & B", "samples");
    let tree = resvg::usvg::roxmltree::Document::parse(&svg).expect("XML");
    let of = |name: &str| {
        let found = tree.descendants().find(|node| {
            node.has_tag_name("g")
                && node.first_element_child().and_then(|title| title.text()).is_some_and(|text| text.starts_with(name))
        });
        let wide = found.and_then(|group| group.children().find(|node| node.has_tag_name("rect")));
        wide.and_then(|rect| rect.attribute("width"))
            .and_then(|wide| wide.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no box {name}"))
    };
    assert!((of("all") - 1_200.0).abs() < 0.1);
    assert!((of("roomcast::publish") - 960.0).abs() < 0.1);
    assert!((of("memcpy") - 720.0).abs() < 0.1);
    assert!((of("roomcast_lab::draw<T>") - 228.0).abs() < 0.1);
    assert!(!svg.contains("too rare"));
    assert!(svg.contains("A &amp; B"));
}

#[test]
fn the_list_tells_own_from_called() {
    let list = stacks().list(2);
    let own = list.split("with what it calls").next().expect("the first part");
    assert!(own.contains("60.0 %          60  memcpy"), "{list}");
    assert!(list.contains("100.0 %         100  main"), "recursion is counted once: {list}");
    assert_eq!(stacks().folded().lines().count(), 5);
    assert!(stacks().folded().contains("main;roomcast::publish;memcpy 60\n"));
}

#[test]
fn an_allocation_profile_is_read_from_the_outside_in() {
    let json = r#"{"dhatFileVersion": 2, "pps": [
        {"tb": 640, "tbk": 10, "gb": 64, "fs": [1, 2, 3]},
        {"tb": 8, "tbk": 1, "fs": [3]}],
        "ftbl": ["[root]", "0x1: alloc::alloc::alloc (alloc.rs:1:2)", "0x2: roomcast::publish (a/b/room.rs:12:5)", "0x3: main (main.rs:3:1)"]}"#;
    let [blocks, bytes, live] = allocations(json).expect("a profile");
    assert_eq!(blocks.folded(), "main (main.rs:3) 1\nmain (main.rs:3);roomcast::publish (room.rs:12) 10\n");
    assert_eq!((bytes.total(), live.total()), (648, 64));
    assert!(allocations("{}").is_err());
}

#[test]
fn names_keep_what_they_are_told_apart_by() {
    let cases = [
        ("map<(usize, &roomcast::Message), fn() -> u64>", "map<…>"),
        ("alloc::vec::Vec<T,A>::clear", "alloc::vec::Vec<T,A>::clear"),
        ("<roomcast::Feed<M> as core::fmt::Debug>::fmt", "<roomcast::Feed<M> as core::fmt::Debug>::fmt"),
        ("drop<alloc::boxed::Box<[u64]>>::next<u8>", "drop<…>::next<u8>"),
        ("a < b", "a < b"),
    ];
    for (name, short) in cases {
        let mut stacks = Stacks::default();
        stacks.add(vec![name.to_owned()], 1);
        assert_eq!(stacks.folded(), format!("{short} 1\n"));
    }
}
