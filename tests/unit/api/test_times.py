"""Times in, stored form out."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lattice.api import event, lease, schema, times


@pytest.mark.parametrize(
    ("text", "seconds", "microseconds"),
    [
        ("2026-11-21T07:00:00.123456+00:00", "2026-11-21T07:00:00Z", "2026-11-21T07:00:00.123456Z"),
        ("2026-11-21T07:00:00+02:00", "2026-11-21T05:00:00Z", "2026-11-21T05:00:00.000000Z"),
        ("2026-11-21T07:00:00Z", "2026-11-21T07:00:00Z", "2026-11-21T07:00:00.000000Z"),
        ("2026-11-21T07:00:00.123456789Z", "2026-11-21T07:00:00Z", "2026-11-21T07:00:00.123456Z"),
        ("2026-11-21", "2026-11-21", "2026-11-21"),
        ("2026-02-30T07:00:00Z", "2026-02-30T07:00:00Z", "2026-02-30T07:00:00Z"),
        ("0001-01-01T00:00:00+09:00", "0001-01-01T00:00:00+09:00", "0001-01-01T00:00:00+09:00"),
        ("soon", "soon", "soon"),
        ("", "", ""),
    ],
)
def test_times(text, seconds, microseconds):
    assert times.normalise_time(text, times.SECONDS) == seconds
    assert times.normalise_time(text, times.MICROSECONDS) == microseconds


@given(st.datetimes(datetime(1900, 1, 2), datetime(9999, 1, 1)), st.integers(-1439, 1439))  # noqa: DTZ001 - the zone is added
def test_the_moment_stays(naive, offset_minutes):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    stored = times.normalise_time(moment.isoformat(), times.MICROSECONDS)
    assert datetime.fromisoformat(stored) == moment.astimezone(UTC)
    assert times.normalise_time(stored, times.MICROSECONDS) == stored


def test_an_event_as_kopf_posts_it():
    fields = times.TimeFields(schema.object_schema(event.Event))
    sent = "2026-11-21T07:00:00.123456+00:00"
    body = {"firstTimestamp": sent, "lastTimestamp": sent, "eventTime": sent, "series": {"lastObservedTime": sent}, "message": sent}
    body["metadata"] = {"managedFields": [{"time": sent}], "annotations": {"time": sent}}
    fields.normalise(body)
    whole, micro = "2026-11-21T07:00:00Z", "2026-11-21T07:00:00.123456Z"
    assert body == {
        "firstTimestamp": whole,
        "lastTimestamp": whole,
        "eventTime": micro,
        "series": {"lastObservedTime": micro},
        "message": sent,
        "metadata": {"managedFields": [{"time": whole}], "annotations": {"time": sent}},
    }


def test_a_lease_and_values_of_a_wrong_type():
    fields = times.TimeFields(schema.object_schema(lease.Lease))
    body = {"spec": {"renewTime": "2026-11-21T07:00:00+00:00", "acquireTime": 7}, "metadata": {"managedFields": 3}}
    fields.normalise(body)
    assert body == {"spec": {"renewTime": "2026-11-21T07:00:00.000000Z", "acquireTime": 7}, "metadata": {"managedFields": 3}}
    assert fields.normalise(None) is None


def test_what_has_no_stored_form_is_named():
    fields = times.TimeFields(schema.object_schema(lease.Lease))
    for text in ("2026-01-01t00:00:00z", "0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "2026-01-01T00:00:00+24:00", "now"):
        spec = {"renewTime": text, "acquireTime": "2026-01-01T00:00:00Z"}
        obj = {"metadata": {"managedFields": [{"time": "2026-01-01T00:00:00Z"}]}, "spec": spec}
        fields.normalise(obj)
        assert list(fields.wrong(obj)) == [("spec.renewTime", text)]
