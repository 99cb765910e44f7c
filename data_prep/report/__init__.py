"""The step `report`: one offline HTML page about a prepared data set."""

from data_prep.report.page import write_report

__all__ = ["write_report"]
