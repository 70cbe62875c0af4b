"""`path("fanfare/", include("django_fanfare.urls"))`: `token/` for pages, `hook/` for the server."""

from __future__ import annotations

from django.urls import path

from . import views

app_name = "fanfare"
urlpatterns = [path("token/", views.token, name="token"), path("hook/", views.hook, name="hook")]
