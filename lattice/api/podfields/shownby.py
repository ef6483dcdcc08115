"""Tests that show fields of a Pod on real Docker, as rows of the table name them."""

from __future__ import annotations

from typing import Final

_AGENT: Final = "tests/e2e/test_agent.py::"
_FIELDS: Final = "tests/e2e/test_pod_fields.py::"
_VOLUMES: Final = "tests/e2e/test_pod_volumes.py::"
_TABLE: Final = "tests/e2e/test_pod_table.py::"
_IMAGES: Final = "tests/e2e/test_pod_images.py::"
_MANIFESTS: Final = "tests/e2e/test_pods.py::"

PROBED: Final = f"{_AGENT}test_http_and_tcp_probes_decide_who_is_ready_and_who_is_restarted"
BACK_OFF: Final = f"{_AGENT}test_restarts_back_off_visibly"
PORTS: Final = f"{_AGENT}test_limits_rights_and_addresses_are_really_on_the_container"
GRACE: Final = f"{_AGENT}test_a_stop_leaves_the_grace_it_was_given_and_no_more"
PROCESS: Final = f"{_FIELDS}test_a_process_gets_its_environment_names_limits_and_rights"
OWNER: Final = f"{_FIELDS}test_what_weakens_isolation_needs_the_owner_s_word"
FILES: Final = f"{_VOLUMES}test_files_of_objects_and_of_the_pod_itself_follow_their_changes"
DIRECTORIES: Final = f"{_VOLUMES}test_directories_are_shared_and_kept_by_the_rules_of_kubernetes"
SHOWN: Final = f"{_TABLE}test_volumes_show_their_files_and_keep_their_rules"
ASKED: Final = f"{_TABLE}test_probes_and_hooks_ask_as_they_are_told"
PLACED: Final = f"{_TABLE}test_where_and_when_a_pod_runs_is_its_own_choice"
PRIVATE: Final = f"{_IMAGES}test_images_come_from_a_private_registry_or_it_is_said_why_not"
NAMES: Final = f"{_TABLE}test_processes_and_names_are_the_pods_own"
MANIFESTS: Final = f"{_MANIFESTS}test_manifests_of_the_documentation_behave_as_documented"
HOOKS: Final = f"{_MANIFESTS}test_hooks_debugging_and_events_with_kubectl"
