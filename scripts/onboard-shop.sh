#!/bin/sh
exec shopfleet onboard "$@"
