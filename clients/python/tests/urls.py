from django.contrib import admin
from django.core.cache import cache
from django.http import HttpResponse
from django.template import engines
from django.urls import include, path
from django.views.decorators.cache import cache_page


def page(request):
    return HttpResponse(engines["django"].from_string("{% load fanfare %}{% fanfare %}").render({}, request))


def clear(request):
    cache.clear()
    return HttpResponse()


urlpatterns = [
    path("admin/", admin.site.urls),
    path("fanfare/", include("django_fanfare.urls")),
    path("page/", page),
    path("kept/", cache_page(60)(page)),
    path("kept/clear/", clear),
]
