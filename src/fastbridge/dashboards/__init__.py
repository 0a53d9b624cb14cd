"""The boards an operator looks at: Grafana dashboards as code, alert rules, provisioning.

`look` says how a panel looks, `callers_board`, `bridge_board` and `call_board` what stands on each
board, `files/` holds what is no dashboard, `command` writes all of it to a folder, `grafana_api`
sends the boards to a Grafana. Plain dicts: Grafana's format is JSON, and needs no library to write.
"""
