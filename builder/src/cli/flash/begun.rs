//! Cards that an earlier run began and did not finish.

use cluster::name::Hostname;

use crate::aligned::{Aligned, PAGE, is_zero};
use crate::device::Medium;
use crate::device::medium::read_exact;
use crate::error::Failure;

/// The nodes in the order in which they are written: where the card in a reader was begun for one of them, that one comes
/// at the reader's place. `is_begun` is asked of a reader's place and a node, and only for cards that are `unfinished`.
pub(super) fn first(
    nodes: &[Hostname],
    unfinished: &[bool],
    is_begun: impl Fn(usize, &Hostname) -> Result<bool, Failure>,
) -> Result<Vec<Hostname>, Failure> {
    // There is nothing to choose between.
    if nodes.len() == 1 {
        return Ok(nodes.to_vec());
    }
    let mut rest = nodes.to_vec();
    let mut places = Vec::new();
    for (place, unfinished) in unfinished.iter().enumerate() {
        let mut begun = None;
        for (at, node) in rest.iter().enumerate().filter(|_| *unfinished) {
            if is_begun(place, node)? {
                begun = Some(at);
                break;
            }
        }
        places.push(begun.map(|at| rest.remove(at)));
    }
    let mut rest = rest.into_iter();
    let mut ordered: Vec<_> = places.into_iter().filter_map(|node| node.or_else(|| rest.next())).collect();
    ordered.extend(rest);
    Ok(ordered)
}

/// Whether a card's first page is zeros, as it is until the card is finished.
pub(super) fn is_unfinished(card: &dyn Medium) -> bool {
    let mut page = Aligned::new(PAGE);
    read_exact(card, &mut page, 0).is_ok() && is_zero(&page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(unfinished: &[bool], begun: &[(usize, &str)]) -> String {
        let nodes = ["red00", "red01", "red02", "red03"].map(|name| Hostname::try_from(name).unwrap());
        let is_begun = |place, node: &Hostname| Ok(begun.contains(&(place, node.as_str())));
        let ordered = first(&nodes, unfinished, is_begun).unwrap();
        ordered.iter().map(Hostname::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_card_that_was_begun_comes_first_in_its_reader() {
        assert_eq!(ordered(&[true], &[(0, "red02")]), "red02 red00 red01 red03");
        assert_eq!(ordered(&[false, true], &[(1, "red03")]), "red00 red03 red01 red02");
        assert_eq!(ordered(&[true, true], &[(0, "red01"), (1, "red00")]), "red01 red00 red02 red03");
        // The slots of one reader have one serial: it is one card's.
        assert_eq!(ordered(&[true, true], &[(0, "red02"), (1, "red02")]), "red02 red00 red01 red03");
        assert_eq!(ordered(&[false], &[(0, "red02")]), "red00 red01 red02 red03", "another card by now");
        assert_eq!(ordered(&[true], &[]), "red00 red01 red02 red03");
    }
}
