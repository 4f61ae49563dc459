"""Placeholder while prices are wired in."""
def price_scope(store, prices):
    store.execute("create or replace temp table scope_costs as select call_no, null::double cost_usd, null::double input_rate_usd, null::double cache_read_rate_usd, null::double paid_rate_usd, null::double output_rate_usd, null::double realized_saving_usd from scope_calls")
