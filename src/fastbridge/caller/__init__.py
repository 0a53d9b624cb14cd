"""A caller made of software: plays Twilio calls in real time and keeps what its ear heard.

`plan` says what a call shall do, `simulated_call.place_call` does it and returns a
`record.CallRecord`, `proof.prove` judges it by its bytes, `command` is `fastbridge call`.
"""
