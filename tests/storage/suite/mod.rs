//! What every store must do: each case is run over each of them.

pub(crate) mod batches;
pub(crate) mod history;
pub(crate) mod incarnations;
pub(crate) mod order;
pub(crate) mod overtaken;
pub(crate) mod restart;
pub(crate) mod retention;
pub(crate) mod trouble;

use crate::support::Place;

/// A case, by its name.
pub(crate) type Case = (&'static str, fn(&dyn Place));

/// Declares a test for each case over SQLite, and the list of all for those who run them elsewhere.
macro_rules! cases {
    ($($module:ident: $($case:ident),+;)+) => {
        /// Every case.
        pub(crate) const CASES: &[Case] = &[$($((stringify!($case), $module::$case)),+),+];

        mod over_sqlite {
            $(mod $module {
                use crate::support::Folder;

                $(#[test]
                fn $case() {
                    super::super::$module::$case(&Folder::new());
                })+
            })+
        }
    };
}

cases! {
    order: every_message_of_every_room_is_stored_once_in_order, rooms_made_without_the_archive_are_found_by_themselves;
    batches: a_batch_ends_at_its_most_messages, a_batch_ends_at_its_most_bytes,
        messages_nobody_waits_for_gather_until_they_are_asked_for, stored_messages_wait_for_no_others,
        a_batch_is_as_durable_as_its_safest_message;
    restart: a_clean_end_goes_on_in_the_same_incarnation, an_unclean_end_begins_a_new_incarnation_at_the_stored_sequence,
        stored_rooms_go_on_after_an_unclean_end, an_unclean_run_counts_for_rooms_nobody_opened_since,
        a_room_that_is_less_safe_than_before_does_not_trust_its_incarnation, a_run_that_cannot_be_finished_is_unclean,
        a_room_that_was_only_opened_leaves_nothing, a_new_incarnation_is_known_before_anything_is_published,
        an_incarnation_of_which_nothing_is_stored_hides_no_other, a_store_that_was_let_go_of_is_free_at_once,
        a_start_counts_where_nothing_is_stored;
    incarnations: no_place_is_handed_out_twice;
    history: the_history_is_one_while_publishers_run, more_than_there_is_may_be_asked_for,
        a_message_too_large_for_a_page_comes_alone;
    retention: messages_go_with_their_time, times_do_not_fall_where_the_clock_was_set_back, only_so_many_messages_stay,
        removed_messages_are_gone_and_the_place_stays,
        a_room_that_ended_is_removed_whole, what_an_author_said_is_erased_and_its_place_stays,
        single_messages_of_a_room_are_erased_from_store_and_ring, an_erasure_whose_answer_was_lost_is_made_again,
        a_room_that_is_opened_while_it_is_erased_shows_nothing_of_it,
        who_reads_a_room_that_has_ended_learns_of_what_is_erased;
    trouble: a_commit_whose_answer_is_lost_is_kept_once, a_store_that_fails_gets_everything_when_it_goes_on,
        a_stalled_store_fills_the_rings_and_loses_nothing, whoever_waits_for_a_stalled_store_is_told,
        an_archive_that_is_dropped_ends, closing_gives_up_in_time,
        a_store_that_hangs_is_left_behind_and_lets_go_later, closing_that_runs_out_of_time_says_what_was_not_read, whoever_waits_for_an_archive_that_gives_up_is_told,
        a_codec_that_panics_stops_the_archive;
    overtaken: a_process_that_was_overtaken_stops_and_loses_nothing,
        what_two_processes_acknowledge_is_all_there, nothing_at_all_is_written_by_who_was_overtaken,
        another_message_in_the_place_of_ours_is_no_repeat, who_has_nothing_to_write_notices_too,
        the_incarnation_of_another_process_is_not_gone_on_in, a_store_that_went_back_begins_new_incarnations,
        what_an_author_said_in_an_earlier_incarnation_is_erased;
}
