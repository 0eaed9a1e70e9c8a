"""
The data path: identify, route, dispatch, relay, settle. Read app, routes, pipeline, dispatch, relay
in this order.
"""
