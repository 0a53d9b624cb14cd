# fastbridge in a container: docker build -t fastbridge . ; grafana/compose.yml adds Prometheus and Grafana.
FROM python:3.12-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -c constraints.txt '.[echo]'

FROM python:3.12-slim-bookworm
COPY --from=build /venv /venv
RUN useradd --create-home fastbridge
USER fastbridge
WORKDIR /home/fastbridge
ENV PATH=/venv/bin:$PATH FASTBRIDGE_HOST=0.0.0.0 FASTBRIDGE_PORT=5050
EXPOSE 5050
HEALTHCHECK --interval=15s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5050/healthz', timeout=2)"]
# SIGTERM drains: calls may end, new ones are refused.
STOPSIGNAL SIGTERM
CMD ["fastbridge", "serve"]
