"""
Dashboards as code, and what writes them out. The files that a deployment reads are beside this one:
prometheus/, alertmanager/, grafana/, loki/, tempo/, collector/ and dcgm/.
"""
