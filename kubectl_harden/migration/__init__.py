"""The migration of namespaces to a level: selection, survey, plan, and the steps that carry it out."""
