"""The worker's clock for its leases."""

from app.postgres.leases import LeaseClock, read_boot_time


def test_a_worker_gives_up_seven_seconds_after_it_sent_the_last_renewal_that_succeeded():
    now = 100.0
    clock = LeaseClock(7, read_time=lambda: now)
    now = 106.9
    assert not clock.expired()
    sent = clock.now()
    now = 107.0
    assert clock.expired()
    clock.renewed(sent)
    assert not clock.expired()
    now = 113.8
    assert not clock.expired()
    now = 114.0
    assert clock.expired()


def test_an_answer_that_comes_late_does_not_turn_the_clock_back():
    now = 0.0
    clock = LeaseClock(7, read_time=lambda: now)
    clock.renewed(5.0)
    clock.renewed(2.0)
    now = 11.9
    assert not clock.expired()
    now = 12.0
    assert clock.expired()


def test_the_clock_goes_on():
    first = read_boot_time()
    assert read_boot_time() >= first > 0
