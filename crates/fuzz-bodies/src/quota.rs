//! Quotas: transfers that hold, grow, settle and are let go of in any order, beside a sum over everything.

use std::collections::BTreeMap;

use hikyaku_files::quota::{Book, Exceeded, Party, Used};

use crate::input::Input;

/// Accounts and transfers that there are.
const ACCOUNTS: u64 = 4;
const TRANSFERS: u64 = 6;

/// What is there, and what each transfer holds.
#[derive(Default)]
struct Sums {
    there: BTreeMap<u8, u64>,
    holds: BTreeMap<u8, (Vec<Party<u8>>, u64)>,
}

impl Sums {
    fn used(&self, account: u8) -> Used {
        let of = |parties: &[Party<u8>]| parties.iter().any(|party| party.account == account);
        let held = self.holds.values().filter(|(parties, _)| of(parties)).map(|(_, bytes)| *bytes).sum();
        Used { there: self.there.get(&account).copied().unwrap_or(0), held }
    }

    /// Whether so much more was rightly taken or refused.
    fn judge(&self, parties: &[Party<u8>], needed: u64, answer: Result<(), Exceeded<u8>>) {
        let exceeds = |party: &Party<u8>| {
            let used = self.used(party.account).all();
            party
                .quota
                .filter(|quota| needed > 0 && used + needed > *quota)
                .map(|quota| (party.account, quota, used))
        };
        let exceeded = parties.iter().find_map(exceeds);
        let told = answer.err().map(|told| {
            assert_eq!(told.needed, needed);
            (told.account, told.quota, told.used)
        });
        assert_eq!(told, exceeded, "the first whose quota would be exceeded, and nobody else");
    }
}

/// What is counted is what there is, whoever has no room is refused, and a refusal changes nothing.
pub fn quota(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut book, mut sums) = (Book::<u8, u8>::default(), Sums::default());
    while !input.is_empty() {
        let (act, transfer) = (input.below(8), input.below(TRANSFERS).to_le_bytes()[0]);
        match act {
            0 | 1 => {
                let (parties, bytes) = (parties(&mut input), amount(&mut input));
                let answer = book.hold(transfer, parties.clone(), bytes);
                sums.holds.remove(&transfer);
                sums.judge(&parties, bytes, answer);
                if answer.is_ok() {
                    sums.holds.insert(transfer, (parties, bytes));
                }
            }
            2 => {
                let (parties, bytes) = (parties(&mut input), amount(&mut input));
                book.carry(transfer, parties.clone(), bytes);
                sums.holds.insert(transfer, (parties, bytes));
            }
            3 => {
                let more = amount(&mut input);
                let answer = book.grow(&transfer, more);
                let parties = sums.holds.get(&transfer).map(|(parties, _)| parties.clone());
                sums.judge(&parties.unwrap_or_default(), more, answer);
                if let (Some((_, bytes)), Ok(())) = (sums.holds.get_mut(&transfer), answer) {
                    *bytes += more;
                }
            }
            4 => {
                let left = amount(&mut input);
                book.settle(&transfer, left);
                for party in sums.holds.remove(&transfer).map(|(parties, _)| parties).unwrap_or_default() {
                    *sums.there.entry(party.account).or_default() += left;
                }
            }
            5 => {
                book.release(&transfer);
                sums.holds.remove(&transfer);
            }
            6 => {
                let (account, bytes) = (input.below(ACCOUNTS).to_le_bytes()[0], amount(&mut input));
                book.remove(&[account], bytes);
                sums.there.entry(account).and_modify(|there| *there = there.saturating_sub(bytes));
            }
            _ => {
                sums.there = (0..input.below(3))
                    .map(|_| (input.below(ACCOUNTS).to_le_bytes()[0], amount(&mut input)))
                    .collect();
                book.recount(&sums.there);
            }
        }
        assert_eq!(book.held(&transfer), sums.holds.get(&transfer).map(|(_, bytes)| *bytes));
        (0..4).for_each(|account| assert_eq!(book.used(&account), sums.used(account), "account {account}"));
        assert!(book.all().all(|(account, used)| used == sums.used(*account)));
    }
}

/// One account or two, with a quota or without.
fn parties(input: &mut Input<'_>) -> Vec<Party<u8>> {
    let shape = input.byte();
    let (one, other) = (shape & 3, shape >> 2 & 3);
    let mut party = |account, bounded: u8| Party { account, quota: (bounded != 0).then(|| amount(input)) };
    let mut parties = vec![party(one, shape & 16)];
    if other != one {
        parties.push(party(other, shape & 32));
    }
    parties
}

/// Bytes: few, or as many as a peer can say (2^53 at most, of which no input makes so many that they do not add up).
fn amount(input: &mut Input<'_>) -> u64 {
    if input.below(8) == 0 { input.long() >> 11 } else { input.short() }
}
