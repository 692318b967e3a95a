//! Stops: who is ended, who is not, and when the command returns.

use std::thread;
use std::time::Duration;

use super::Theirs::{Fails, Passes};
use super::{Scene, long, scenario};
use crate::harness::{eventually, http};

#[test]
fn a_stop_by_title_leaves_others_alone() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        // Longer by a few letters: a title is compared as a whole.
        (scene.title, scene.port) = ("svc-2".to_owned(), scene.world.port());
        scene.start(&[]).run().exits(0);
        scene.stop("svc");
        eventually("it is gone", || scene.masters("svc").is_empty());
        scene.master("svc-2");
    });
}

#[test]
fn a_stop_of_nothing_is_no_failure() {
    scenario(Passes, |scene| {
        scene.stop("svc").says("running");
    });
}

#[test]
fn a_stop_lets_application_and_agent_close() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        scene.stop("svc");
        eventually("nobody is left", || scene.world.alive().is_empty());
        assert_eq!((scene.noted("app", "closed").len(), scene.noted("agent", "closed").len()), (1, 1));
        scene.world.log_says("[master] master is killed by signal SIGTERM, closing");
        scene.world.log_says("[master] exit with code:0");
    });
}

#[test]
fn a_stop_returns_when_all_are_gone_and_not_later() {
    scenario(Fails("it sleeps 5 s, whether they are gone or not"), |scene| {
        scene.start(&[]).run().exits(0);
        let stopped = scene.stop("svc");
        assert!(scene.world.alive().is_empty());
        assert!(stopped.took < Duration::from_secs(4), "{:?}", stopped.took);
    });
}

#[test]
fn a_request_in_flight_is_answered_during_a_stop() {
    scenario(Fails("app.close and exit at once: the client gets no answer"), |scene| {
        scene.start(&[]).run().exits(0);
        let port = scene.port;
        let request = thread::spawn(move || http::try_get(port, "/slow"));
        eventually("the request is in flight", || !scene.noted("app", "slow").is_empty());
        scene.stop("svc");
        assert_eq!(request.join().unwrap().expect("no answer").status, 200);
    });
}

#[test]
fn a_stop_finds_the_other_programs_master() {
    scenario(Passes, |scene| {
        scene.start_by(scene.other(), &[]).run().exits(0);
        scene.stop("svc");
        eventually("nobody is left", || scene.world.alive().is_empty());
        assert_eq!(scene.noted("app", "closed").len(), 1);
    });
}

#[test]
fn what_was_started_is_stopped_by_the_other_program() {
    scenario(Passes, |scene| {
        scene.start(&[]).run().exits(0);
        scene.typed(scene.other(), &["stop", "--title=svc"]).run().exits(0);
        eventually("nobody is left", || scene.world.alive().is_empty());
        assert_eq!(scene.noted("app", "closed").len(), 1);
    });
}

/// Starts and stops it by this title.
fn starts_and_stops(scene: &mut Scene<'_>, title: &str) {
    title.clone_into(&mut scene.title);
    scene.start(&[]).run().exits(0);
    scene.master(title);
    scene.stop(title);
    eventually("nobody is left", || scene.world.alive().is_empty());
}

#[test]
fn a_title_may_hold_spaces_and_what_a_shell_would_expand() {
    scenario(Passes, |scene| starts_and_stops(scene, "hard boiled $(x);*"));
}

#[test]
fn a_title_may_hold_letters_of_any_alphabet() {
    scenario(Fails("without a UTF-8 locale `ps` shows `?` for them"), |scene| starts_and_stops(scene, "böiled 蛋"));
}

#[test]
fn a_title_may_hold_quotes_and_backslashes() {
    scenario(Fails("the title is compared with the JSON's text, where it is escaped"), |scene| {
        starts_and_stops(scene, r#"a "good" \egg"#);
    });
}

#[test]
fn many_starts_and_stops_of_one_title_follow_each_other() {
    if !long() {
        return;
    }
    scenario(Passes, |scene| {
        for _ in 0..5 {
            scene.start(&[]).run().exits(0);
            scene.stop("svc");
            eventually("nobody is left", || scene.world.alive().is_empty());
        }
    });
}
